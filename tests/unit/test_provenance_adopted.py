"""Environments that were there before: compared with the lock, and the difference kept."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.common.errors import ConfigError, DataError
from scripts.provenance.adopted import adopt_environment, compare
from scripts.provenance.environments import describe_environment, env_python, is_complete
from scripts.records.engine import Adopted

LOCK = """\
one-thing==1.2.0 \\
    --hash=sha256:00
    # via other
Other_Thing==2.0+cpu ; python_full_version >= '3.11' \\
    --hash=sha256:11
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """A lock of two packages, in a folder envs/ of its own."""
    (tmp_path / "envs").mkdir()
    file = tmp_path / "envs" / "tool.lock"
    file.write_text(LOCK)
    return file


NOTHING = Adopted(missing={}, other={})


def packages(folder: Path, **versions: str) -> Path:
    """A folder of packages that holds nothing but their names and versions."""
    for name, version in versions.items():
        info = folder / f"{name}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return folder


def test_names_and_local_versions_compare_as_indexes_do() -> None:
    assert compare(LOCK, {"one-thing": "1.2.0", "other-thing": "2.0+cu130"}) == NOTHING


def test_what_is_missing_or_other_is_told() -> None:
    found = compare(LOCK, {"other-thing": "2.1"})
    assert found.missing == {"one-thing": "1.2.0"}
    assert found.other == {"other-thing": "2.0+cpu, there is 2.1"}


def test_an_environment_that_fits_is_taken_and_described(lock: Path, tmp_path: Path) -> None:
    site = packages(tmp_path / "site", one_thing="1.2.0", other_thing="2.0")
    assert adopt_environment(lock, [site]) == NOTHING
    assert is_complete(lock)
    assert env_python(lock).exists()
    described = describe_environment(lock)
    assert described.packages == {"one-thing": "1.2.0", "other-thing": "2.0"}
    assert described.adopted == NOTHING


def test_of_two_folders_the_first_one_counts(lock: Path, tmp_path: Path) -> None:
    first = packages(tmp_path / "first", one_thing="1.2.0")
    second = packages(tmp_path / "second", one_thing="9.9", other_thing="2.0")
    assert adopt_environment(lock, [first, second]) == NOTHING


@pytest.mark.parametrize(
    ("versions", "kind"),
    [({"other_thing": "2.0"}, "missing"), ({"one_thing": "1.3", "other_thing": "2.0"}, "other")],
)
def test_a_difference_is_refused_unless_allowed(
    lock: Path, tmp_path: Path, versions: dict[str, str], kind: str
) -> None:
    site = packages(tmp_path / "site", **versions)
    with pytest.raises(DataError, match=f"{kind}: one-thing"):
        adopt_environment(lock, [site])
    assert not is_complete(lock)
    found = adopt_environment(lock, [site], allow_missing=kind == "missing", allow_other=kind == "other")
    assert set(found.as_json()[kind]) == {"one-thing"}
    assert describe_environment(lock).adopted == found


def test_a_folder_that_is_not_there_is_named(lock: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nowhere"):
        adopt_environment(lock, [tmp_path / "nowhere"])

"""The archive's description against the published profiles, by their validator, without a network."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import rocrate
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter, HTTPAdapter
from requests_cache import CachedSession
from rocrate_validator import services
from rocrate_validator.models import Severity, ValidationSettings
from urllib3.response import HTTPResponse

from scripts.archive.contents import METADATA
from scripts.archive.pack import unpack
from scripts.archive.write import write_archive
from tests.unit.grids import write_grid

CONTEXT = "https://w3id.org/ro/crate/1.1/context"
BIOSCHEMAS = "https://bioschemas.org"
# Where the context of RO-Crate 1.1 names a term otherwise than the later one that comes with the package rocrate;
# of the terms that an archive uses there is no other (sha256, which 1.1 has not, the archive defines itself).
OF_1_1 = {
    "ComputationalWorkflow": f"{BIOSCHEMAS}/ComputationalWorkflow",
    "FormalParameter": f"{BIOSCHEMAS}/FormalParameter",
    "input": f"{BIOSCHEMAS}/ComputationalWorkflow#input",
    "output": f"{BIOSCHEMAS}/ComputationalWorkflow#output",
}
# What the profiles recommend and an archive has not: a URL of each tool and author, which CITATION.cff does not say;
# an id of each tool that is a URL, for they are files of the archive; the end of what is not a session, whose time is
# not recorded so that the same data gives the same bytes; and who ran, wrote and published it, for nobody is named.
NOT_FOLLOWED = {
    "process-run-crate-0.5_3.2",
    "process-run-crate-0.5_5.1",
    "process-run-crate-0.5_8.4",
    "process-run-crate-0.5_8.6",
    "ro-crate-1.1_22.2",
    "ro-crate-1.1_22.3",
    "ro-crate-1.1_31.2",
}
ALL_CHECKS = Counter({Severity.REQUIRED: 91, Severity.RECOMMENDED: 98})
OF_A_URL = {"process-run-crate-0.5_3.2", "ro-crate-1.1_31.2"}


class _Held(BaseAdapter):
    """Answers any request with one document."""

    def __init__(self, content: bytes) -> None:
        super().__init__()
        self._content = content

    def send(self, request: PreparedRequest, *_arguments: Any, **_more: Any) -> Response:
        headers = {"Content-Type": "application/ld+json"}
        body = HTTPResponse(io.BytesIO(self._content), headers=headers, status=200, preload_content=False)
        return HTTPAdapter().build_response(request, body)

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validator's cache of what it would ask the network for: the context that the archive names."""
    packed = Path(rocrate.__file__).parent / "data/ro-crate.jsonld"
    context: Mapping[str, str] = json.loads(packed.read_text())["@context"]
    path = tmp_path_factory.mktemp("cache") / "http"
    with CachedSession(cache_name=str(path), backend="sqlite", expire_after=-1) as session:
        session.mount("https://", _Held(json.dumps({"@context": {**context, **OF_1_1}}).encode()))
        assert session.get(CONTEXT).ok
    return path


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = write_grid(tmp_path_factory.mktemp("archive") / "made", code=True)
    write_archive(home, home.parent / "provenance.zip")
    return home.parent / "provenance.zip"


def validate(archive: Path, cache: Path, severity: Severity) -> tuple[Counter[Severity], set[str]]:
    """How many checks of each severity, down to this one, the validator ran, and those that were not passed."""
    settings = ValidationSettings(
        rocrate_uri=str(archive),
        profile_identifier="provenance-run-crate-0.5",
        requirement_severity=severity,
        offline=True,
        cache_path=cache,
    )
    found = services.validate(settings)
    assert not found.skipped_checks
    checked = Counter(each.severity for each in found.executed_checks)
    return checked, {each.check.identifier for each in found.get_issues()}


def test_all_that_the_profile_requires_and_recommends_but_what_is_known(archive: Path, cache: Path) -> None:
    """The checks of what is required are among those of what is recommended."""
    assert validate(archive, cache, Severity.RECOMMENDED) == (ALL_CHECKS, NOT_FOLLOWED)


def test_a_url_in_citation_cff_is_that_of_tools_and_authors(cache: Path, tmp_path: Path) -> None:
    home = write_grid(tmp_path / "made", code=True)
    with open(home / "CITATION.cff", "a") as citation:
        citation.write('repository-code: "https://example.org/tempzero"\n')
    write_archive(home, tmp_path / "provenance.zip")
    found = validate(tmp_path / "provenance.zip", cache, Severity.RECOMMENDED)
    assert found == (ALL_CHECKS, NOT_FOLLOWED - OF_A_URL)


def test_the_validator_sees_what_is_missing(archive: Path, cache: Path, tmp_path: Path) -> None:
    """A description without its licence does not pass, so that passing says something."""
    unpack(archive, tmp_path / "folder")
    crate = json.loads((tmp_path / "folder" / METADATA).read_text())
    for each in crate["@graph"]:
        if each["@id"] == "./":
            del each["license"]
    (tmp_path / "folder" / METADATA).write_text(json.dumps(crate))
    assert validate(tmp_path / "folder", cache, Severity.REQUIRED)[1]

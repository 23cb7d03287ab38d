"""Locked environments: built whole or not at all, and never anything but what the lock pins."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from scripts.common.errors import ConfigError, TempzeroError
from scripts.provenance.environments import (
    create_environment,
    describe_environment,
    env_folder,
    env_python,
    is_complete,
)
from tests.patience import ENDS, wait_until


def wheel(folder: Path, name: str, version: str, marker: str = "") -> Path:
    """A wheel that holds one empty module."""
    path = folder / f"{name}-{version}-py3-none-any.whl"
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{name}.py", f"version = {version!r}\n{marker}")
        archive.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A lock of one package that lies in a folder here, so that nothing is downloaded."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    digest = hashlib.sha256(wheel(wheels, "tzpinned", "1.2").read_bytes()).hexdigest()
    path = tmp_path / "envs/tool.lock"
    path.parent.mkdir()
    path.write_text(f"tzpinned==1.2 \\\n    --hash=sha256:{digest}\n")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return path


def test_an_environment_holds_what_the_lock_pins(lock: Path, capfd: pytest.CaptureFixture[str]) -> None:
    create_environment(lock)
    folder = env_folder(lock)
    assert folder == lock.parents[1] / f".envs/tool-{hashlib.sha256(lock.read_bytes()).hexdigest()[:12]}"
    assert is_complete(lock)
    assert "ready after" in capfd.readouterr().err
    done = subprocess.run(
        [env_python(lock), "-c", "import tzpinned; print(tzpinned.version)"], capture_output=True
    )
    assert done.stdout == b"1.2\n"
    record = describe_environment(lock)
    assert record.packages == {"tzpinned": "1.2"}
    assert record.lock_sha256 == hashlib.sha256(lock.read_bytes()).hexdigest()
    create_environment(lock)
    assert capfd.readouterr().err == ""  # it was there


def test_a_wrong_hash_is_refused_with_pips_words(lock: Path) -> None:
    lock.write_text("tzpinned==1.2 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(
        TempzeroError, match=r"(?s)installing packages failed.*hash.*give the same command again"
    ):
        create_environment(lock)
    assert not is_complete(lock)


def test_a_package_that_is_missing_is_named(lock: Path) -> None:
    lock.write_text("tzabsent==1 \\\n    --hash=sha256:" + "0" * 64 + "\n")
    with pytest.raises(TempzeroError, match="tzabsent"):
        create_environment(lock)


def test_a_missing_lock_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"absent\.lock: the lock file is missing"):
        create_environment(tmp_path / "envs/absent.lock")


def test_what_a_killed_build_left_is_begun_anew(lock: Path) -> None:
    folder = env_folder(lock)
    (folder / "bin").mkdir(parents=True)
    (folder / "bin/python").write_text("torn")
    assert not is_complete(lock)
    create_environment(lock)
    assert is_complete(lock)


def test_a_build_that_is_ended_takes_pip_with_it(lock: Path, root: Path) -> None:
    """SIGTERM to the command ends its children, and nothing is left that looks whole."""
    slow = lock.parents[1] / "slow.py"
    slow.write_text(
        "import signal, sys, time\n"
        f"sys.path.insert(0, {str(root)!r})\n"
        "from pathlib import Path\n"
        "from scripts.provenance.environments import _Build\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))\n"
        "print('ready', flush=True)\n"
        "_Build(Path('log'), 0).step(['sleep', '302'], 'sleeping')\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(slow)], cwd=slow.parent, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    process.stdout.readline()
    asleep = ["pgrep", "-f", "^sleep 302$"]
    wait_until(lambda: subprocess.run(asleep, capture_output=True).stdout)
    process.send_signal(signal.SIGTERM)
    assert process.wait(ENDS) == 143
    left = subprocess.run(asleep, capture_output=True)
    assert left.stdout == b""


def test_the_engines_lock_compiles_with_pinned_tools_alone(root: Path) -> None:
    """Every package of every lock has a hash, and what compiles is pinned too."""
    for lock in sorted((root / "envs").glob("*.lock")):
        text = lock.read_text()
        names = re.findall(
            r"^([a-z0-9][a-z0-9._-]*)==\S+(?: ;[^\\]*)? \\\n    --hash=sha256:", text, re.MULTILINE
        )
        assert len(names) == len(re.findall(r"^[a-z0-9][a-z0-9._-]*==", text, re.MULTILINE)), lock.name
    tools = (root / "envs/llamacpp-build.lock").read_text()
    assert {"cmake", "ninja", "scikit-build-core"} <= set(re.findall(r"^([a-z0-9-]+)==", tools, re.MULTILINE))


def test_the_engines_environment_lacks_nothing_it_pins(root: Path) -> None:
    lock = root / "envs/llamacpp.lock"
    create_environment(lock)
    packages = describe_environment(lock).packages
    assert packages["llama-cpp-python"] == "0.3.36"
    done = subprocess.run(
        [env_python(lock), "-m", "pip", "check"], capture_output=True, text=True, env={**os.environ}
    )
    assert done.returncode == 0, done.stdout


def test_the_conda_file_agrees_with_the_lock(root: Path) -> None:
    lock = (root / "envs/workflow.lock").read_text()
    entries = yaml.safe_load((root / "envs/workflow.yaml").read_text())["dependencies"]
    pinned = dict(entry.split(" =") for entry in entries if isinstance(entry, str) and " =" in entry)
    pinned |= dict(entry.split("==") for entry in entries[-1]["pip"])
    for name, version in pinned.items():
        if name != "python":
            assert re.search(rf"^{re.escape(name)}=={re.escape(version)}\b", lock, re.MULTILINE), name
    wanted = {
        re.split("[=<>]", line)[0]
        for line in (root / "envs/workflow.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    assert wanted - set(pinned) == {"snakemake"}

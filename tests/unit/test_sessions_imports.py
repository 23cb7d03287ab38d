"""What is imported where: by a session, in the engine's environment, what is in every engine's lock; by each start of
Snakemake nothing that is slow."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.provenance.adopted import PINS
from scripts.provenance.environments import normal_name

ROOT = Path(__file__).resolve().parents[2]
ENGINES = ("llamacpp", "vllm-cpu", "vllm-cuda", "sglang-cuda")
PACKAGES = ("scipy", "pandas", "tabulate", "snakemake", "docker", "rocrate")


@pytest.mark.parametrize("engine", ENGINES)
def test_what_is_imported_is_in_the_engine_s_lock(engine: str) -> None:
    pinned = {normal_name(name) for name, _ in PINS.findall((ROOT / "envs" / f"{engine}.lock").read_text())}
    absent = sorted(set(PACKAGES) - pinned)
    assert "snakemake" in absent
    code = f"import sys; sys.modules.update(dict.fromkeys({absent!r})); import scripts.run_session, scripts.force_cell, scripts.sweep_cell;"
    code += (
        " from scripts.sessions import force, session; from scripts.engines import server_process, external"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_snakemake_s_start_waits_for_no_scipy() -> None:
    code = "import sys, scripts.grid.begin; print(sorted({'scipy', 'pandas', 'torch'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

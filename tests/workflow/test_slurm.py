"""A real Slurm of two nodes, the second in a process namespace of its own: sessions as jobs of its queue.

`scancel`, a killed login node, and a job that was given no GPU: nothing goes on alone, and the same command completes.
"""

from __future__ import annotations

import os
import shutil
import signal
import site
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import yaml
from checkouts import CELLS, ENGINE, Checkout

from scripts.common.files import sha256_file
from scripts.grid.guard import TABLES
from scripts.records.session import SessionRecord
from tests.nvidia import uuid, write_nvidia_smi
from tests.patience import ENDS, wait_until

CONFIG = Path("/etc/slurm/slurm.conf")


def slurm_runs() -> bool:
    """Whether the cluster of start_slurm.sh does: on another one, these tests have no business."""
    ours = CONFIG.is_file() and "tests/workflow/start_slurm.sh" in CONFIG.read_text("utf-8")
    return ours and subprocess.run(["sinfo"], capture_output=True).returncode == 0


pytestmark = pytest.mark.skipif(not slurm_runs(), reason="no Slurm (bash tests/workflow/start_slurm.sh)")

PROFILE = ("--workflow-profile", "config/profiles/slurm")
# A queue of one's own needs no patience.
QUICK = ("--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "3")
CELL = f"{CELLS}/base"
SESSION = f"{CELL}/session-00/session.json"


@pytest.fixture(scope="module")
def python(root: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A Python that has, beside all of this one's packages, what hands jobs to Slurm."""
    folder = tmp_path_factory.mktemp("slurm") / "venv"
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    (own,) = (folder / "lib").glob("python*/site-packages")
    (own / "beside.pth").write_text("\n".join(site.getsitepackages()), encoding="utf-8")
    install = ("-m", "pip", "install", "--quiet", "--require-hashes", "-r", "envs/slurm.lock")
    subprocess.run([folder / "bin/python", *install], cwd=root, check=True)
    return str(folder / "bin/python")


@pytest.fixture
def cluster(finished: Checkout, python: str) -> Iterator[Checkout]:
    """A checkout with engine and weights and no session; no job and no process of it is left in the end."""
    finished.python = python
    shutil.rmtree(finished.path / "results/cells")
    for table in TABLES:  # Snakemake takes what is newer than the missing for up to date
        (finished.path / table).unlink(missing_ok=True)
    yield finished
    try:
        wait_until(lambda: not processes(finished) and not queue(finished), seconds=ENDS)
    finally:
        if left := queue(finished):
            subprocess.run(["scancel", *left], check=False)


def queue(checkout: Checkout, *states: str) -> list[str]:
    """The ids of the checkout's jobs in Slurm's queue; of those that are over, only with `--states=all`."""
    listed = subprocess.run(
        ["squeue", "--noheader", "--format=%i %Z", *states], capture_output=True, text=True, check=True
    ).stdout
    rows = (line.split(" ", 1) for line in listed.splitlines())
    return [job for job, folder in rows if Path(folder) == checkout.path]


def processes(checkout: Checkout) -> list[psutil.Process]:
    """The processes that play or force a cell of the checkout, on whichever node."""
    found = []
    for process in psutil.process_iter():
        try:
            command = " ".join(process.cmdline())
            works = "scripts.run_session" in command or "scripts.force_cell" in command
            if works and Path(process.cwd()) == checkout.path:
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return found


def start_long(checkout: Checkout) -> subprocess.Popen[str]:
    """The workflow, in the middle of a session that takes minutes."""
    workflow = checkout.start(*PROFILE, SESSION, *QUICK)
    played = checkout.path / CELL / ".session-00.partial/replay-01.transcript.jsonl"
    checkout.wait_until(workflow, played.exists)
    return workflow


def hashes(checkout: Checkout) -> dict[str, str]:
    """The sha256 of every file of the cell that has one for all time."""
    files = sorted((checkout.path / CELL).glob("session-*/replay-*.[tl][ro]*.jsonl"))
    return {str(file.relative_to(checkout.path)): sha256_file(file) for file in files}


def test_a_cell_through_the_queue_has_the_bits_of_the_local_run(
    cluster: Checkout, made: tuple[Checkout, str]
) -> None:
    done = cluster.run(*PROFILE, "results/table.md", *QUICK)
    assert done.returncode == 0, done.stdout
    assert hashes(cluster) == hashes(made[0]) and len(hashes(cluster)) == 2 * 2 * 2
    jobs = queue(cluster, "--states=all")
    assert len(jobs) == 4, "sessions alone are jobs of the cluster"
    nodes = subprocess.run(
        ["squeue", "--noheader", "--states=all", "--format=%N", f"--jobs={','.join(jobs)}"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    assert set(nodes) == {"one", "two"}
    assert cluster.jobs("results/table.md") == {}


def test_what_is_cancelled_or_loses_its_login_node_completes_by_the_same_command(
    cluster: Checkout, made: tuple[Checkout, str]
) -> None:
    cluster.edit("config/grids/tiny.yaml", "replays: 2", "replays: 400")
    workflow = start_long(cluster)
    subprocess.run(["scancel", *queue(cluster)], check=True)
    wait_until(lambda: not processes(cluster), seconds=ENDS)
    assert not [path for path in (cluster.path / CELL).rglob("*") if path.is_file()]
    assert workflow.wait(2 * ENDS) != 0

    workflow = start_long(cluster)
    os.kill(workflow.pid, signal.SIGKILL)
    workflow.wait()
    time.sleep(3)
    assert processes(cluster), "a session rests on nothing of the machine that submitted it"
    cluster.edit("config/grids/tiny.yaml", "replays: 400", "replays: 2")
    again = cluster.run(*PROFILE, SESSION, *QUICK)
    assert again.returncode == 0, again.stdout
    assert f"the last workflow here (process {workflow.pid}) was killed; clearing up after it" in again.stdout
    assert "jobs in Slurm's queue that a workflow here left are cancelled: " in again.stdout
    expected = {name: value for name, value in hashes(made[0]).items() if "session-00" in name}
    assert hashes(cluster) == expected


def test_a_session_has_the_gpus_that_its_job_was_given_and_none_else(cluster: Checkout) -> None:
    """An engine that wants one, on nodes whose nvidia-smi names four; Slurm says which, and a job without is refused."""
    write_nvidia_smi(cluster.path / "bin", *[81559] * 4)
    cluster.environment = {"PATH": f"{cluster.path / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    engines = yaml.safe_load((cluster.path / "config/engines.yaml").read_text())
    engines["engines"][ENGINE]["gpus"] = 1
    cluster.write_yaml("config/engines.yaml", engines)
    refused = cluster.run(*PROFILE, SESSION, *QUICK, "--set-resources", "run_session:gpu=0")
    assert refused.returncode == 1
    log = cluster.path / "results/logs/sessions" / CELL.removeprefix("results/cells/") / "session-00.log"
    assert f"{ENGINE}: 1 GPU is wanted, and Slurm gave this job none" in log.read_text()
    assert not (cluster.path / SESSION).exists()

    done = cluster.run(*PROFILE, SESSION, *QUICK)
    assert done.returncode == 0, done.stdout
    machine = SessionRecord.read(cluster.path / SESSION).machine
    assert machine is not None and [gpu.uuid for gpu in machine.gpus or []] == [uuid(0)]

"""One workflow a folder, and the clearing up after one that was killed."""

from __future__ import annotations

import base64
import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import psutil
import pytest

from scripts.common.errors import TempzeroError
from scripts.grid.guard import LOCK, PID_VARIABLE, discard_unfinished, hold_folder
from scripts.grid.lock import FolderLock, Holder, read_holder
from tests.patience import ENDS, wait_until

HOLD = """
import sys, time
sys.path.insert(0, {root!r})
from pathlib import Path
from scripts.grid.guard import hold_folder
hold_folder(Path(), leave_seconds=1.0)
{then}
print("held", flush=True)
time.sleep(float(sys.argv[1]))
"""


CELL = "results/cells/m/p/e/v"


def start(root: Path, folder: Path, seconds: float, then: str = "") -> subprocess.Popen[str]:
    """A process that holds `folder`; returned once it does, or has ended."""
    code = textwrap.dedent(HOLD).format(root=str(root), then=then)
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(seconds)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    return process


def mark(folder: Path, output: str) -> Path:
    """Mark an output as unfinished the way Snakemake does."""
    text = base64.urlsafe_b64encode(output.encode()).decode()
    pieces = [text[i : i + 254] for i in range(0, len(text), 254)]
    path = folder.joinpath(".snakemake/incomplete", *(f"@{piece}" for piece in pieces[:-1]), pieces[-1])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"external_jobid": null}')
    return path


def test_a_second_workflow_is_refused_and_told_who_holds(root: Path, tmp_path: Path) -> None:
    first = start(root, tmp_path, 60)
    try:
        with pytest.raises(
            TempzeroError, match=rf"another workflow works in this folder \(process {first.pid}, started"
        ):
            hold_folder(tmp_path)
    finally:
        first.terminate()
        first.wait()


def test_a_clean_end_leaves_no_trace(root: Path, tmp_path: Path) -> None:
    process = start(root, tmp_path, 0)
    assert process.wait() == 0
    assert (tmp_path / LOCK).read_bytes() == b""
    second = start(root, tmp_path, 0)
    _, errors = second.communicate()
    assert errors == ""


def test_after_a_kill_the_next_one_clears_up(root: Path, tmp_path: Path) -> None:
    killed = start(root, tmp_path, 60)
    stale = tmp_path / ".snakemake/locks/0.input.lock"
    stale.parent.mkdir(parents=True)
    stale.touch()
    session = tmp_path / "results/cells/a/session-00/session.json"
    session.parent.mkdir(parents=True)
    session.write_text("{}")
    (session.parent / "replay-00.transcript.jsonl").write_text("torn")
    marked = mark(tmp_path, "results/cells/a/session-00/session.json")
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    second = start(root, tmp_path, 0)
    _, errors = second.communicate()
    assert second.returncode == 0
    assert f"the last workflow here (process {killed.pid}) was killed" in errors
    assert (
        "begun and not finished, so made again where it is needed: results/cells/a/session-00/session.json"
        in errors
    )
    assert not stale.exists()
    assert not marked.exists()
    assert not session.parent.exists()


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_jobs_that_outlive_a_killed_workflow_are_ended(root: Path, tmp_path: Path) -> None:
    spawn = "import subprocess; print(subprocess.Popen(['sleep', '3600']).pid, flush=True)"
    code = textwrap.dedent(HOLD).format(root=str(root), then=spawn)
    killed = subprocess.Popen(
        [sys.executable, "-c", code, "60"], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    assert killed.stdout is not None
    orphan = int(killed.stdout.readline())
    killed.kill()
    killed.wait()
    second = start(root, tmp_path, 0)
    _, errors = second.communicate()
    assert f"waiting for its jobs to end (processes {orphan})" in errors
    wait_until(lambda: not lives(orphan), seconds=ENDS)


def test_the_jobs_environment_names_the_workflow(root: Path, tmp_path: Path) -> None:
    process = start(root, tmp_path, 0, then=f"import os; print(os.environ[{PID_VARIABLE!r}], flush=True)")
    # The first line was read by start(): the process's id. What is left says it went on.
    # Read on the same stream: communicate() would pass over what it has buffered.
    assert process.stdout is not None
    assert process.stdout.read() == "held\n"
    process.wait()


def test_only_results_are_ever_discarded(tmp_path: Path) -> None:
    for name in ("precious.txt", "results/long/" + "x" * 200 + "/cell.json", "results/table.md"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
        mark(tmp_path, name)
    outside = mark(tmp_path, "results/../precious.txt")
    strange = tmp_path / ".snakemake/incomplete/migration_underway"
    strange.touch()
    found = discard_unfinished(tmp_path)
    assert found == ["results/long/" + "x" * 200 + "/cell.json", "results/table.md"]
    assert (tmp_path / "precious.txt").exists()
    assert not outside.exists()
    assert not (tmp_path / "results/table.md").exists()


@pytest.mark.parametrize(
    ("marked", "gone"),
    [
        (f"{CELL}/session-00/session.json", {"session-00", "cell.json", "forced.json", "tables"}),
        (f"{CELL}/session-01/session.json", {"session-01", "cell.json", "tables"}),
        (f"{CELL}/forced.json", {"forced.json", "cell.json", "tables"}),
        (f"{CELL}/cell.json", {"cell.json", "tables"}),
        ("results/grid.json", {"tables"}),
        ("results/quants/m/p/manifest.json", set()),
    ],
)
def test_what_was_made_from_an_unfinished_output_goes_with_it(
    tmp_path: Path, marked: str, gone: set[str]
) -> None:
    """Whether the unfinished output itself is there or not: Snakemake removes it before its job begins."""
    places = {
        "session-00": f"{CELL}/session-00/replay-00.transcript.jsonl",
        "session-01": f"{CELL}/session-01/replay-00.transcript.jsonl",
        "forced.json": f"{CELL}/forced.json",
        "cell.json": f"{CELL}/cell.json",
        "tables": "results/table.md",
        "another": "results/cells/m/p/e/other/cell.json",
    }
    for place in places.values():
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_text("content")
    mark(tmp_path, marked)
    assert discard_unfinished(tmp_path) == [marked]
    assert {name for name, place in places.items() if not (tmp_path / place).exists()} == gone
    assert discard_unfinished(tmp_path) == []


def test_a_torn_lock_file_is_no_obstacle(tmp_path: Path, root: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / LOCK).write_text('{"pid": ')
    process = start(root, tmp_path, 0)
    assert process.wait() == 0


def elsewhere(path: Path, beat: int = 0) -> None:
    """What a workflow on another machine writes, whose `flock` does not reach this one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = Holder(
        pid=os.getpid(), started="2026-01-01 00:00:00", host="login-2", executor="slurm", beat=beat
    )
    path.write_text(json.dumps(holder.as_json()), encoding="utf-8")


def test_a_record_of_another_machine_that_counts_is_a_living_workflow(tmp_path: Path) -> None:
    elsewhere(tmp_path / LOCK)
    threading.Timer(0.5, elsewhere, [tmp_path / LOCK, 1]).start()
    with pytest.raises(TempzeroError, match=rf"\(process {os.getpid()} on login-2, started 2026-01-01"):
        FolderLock(tmp_path / LOCK).take(look_seconds=20)


def test_a_record_of_another_machine_that_stands_still_is_of_a_dead_one(tmp_path: Path) -> None:
    elsewhere(tmp_path / LOCK, beat=7)
    last = FolderLock(tmp_path / LOCK).take(look_seconds=0.3)
    assert last is not None and (last.host, last.executor, last.beat) == ("login-2", "slurm", 7)


def test_one_that_ends_cleanly_meanwhile_leaves_nothing_to_clear_up(tmp_path: Path) -> None:
    elsewhere(tmp_path / LOCK)
    threading.Timer(0.5, (tmp_path / LOCK).write_bytes, [b""]).start()
    assert FolderLock(tmp_path / LOCK).take(look_seconds=20) is None


def test_the_holder_counts_while_it_lives(tmp_path: Path) -> None:
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom scripts.grid.lock import FolderLock\n"
        "lock = FolderLock(Path(sys.argv[1]), 'slurm')\nlock.take()\nlock.hold(beat_seconds=0.1)\ntime.sleep(1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "lock")])
    seen = set()
    while process.poll() is None:
        seen.add(read_holder(tmp_path / "lock"))
    beats = [each.beat for each in seen if each]
    assert len(beats) > 3 and len(set(beats)) == len(beats)
    assert {each.executor for each in seen if each} == {"slurm"}
    assert (tmp_path / "lock").read_bytes() == b""

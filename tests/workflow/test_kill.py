"""A workflow that is killed, interrupted or started twice: nothing goes on alone, nothing torn is used."""

from __future__ import annotations

import os
import signal
import subprocess

import psutil
from checkouts import CELLS, Checkout

from tests.patience import ENDS, wait_until
from tests.terminal import on_terminal

SESSION = f"{CELLS}/base/session-00"
PLAYED = f"{CELLS}/*/.session-*/replay-01.transcript.jsonl"


def sessions_of(pid: int) -> list[psutil.Process]:
    """The session processes that the workflow `pid` started and that still live."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.environ().get("TEMPZERO_WORKFLOW_PID") == str(pid)
                and process.status() != psutil.STATUS_ZOMBIE
            ):
                found.append(process)
        except psutil.Error:
            continue
    return [process for process in found if process.pid != pid]


def start_long(checkout: Checkout) -> subprocess.Popen[str]:
    """The workflow, in the middle of a session that takes minutes."""
    checkout.edit("config/grids/tiny.yaml", "replays: 2", "replays: 400")
    workflow = checkout.start("--cores", "1", "results/table.md")
    checkout.wait_until(workflow, lambda: list(checkout.path.glob(PLAYED)))
    assert sessions_of(workflow.pid)
    return workflow


def wait_gone(pid: int) -> None:
    wait_until(lambda: not sessions_of(pid), lambda: sessions_of(pid), ENDS)


def test_after_kill_9_the_session_ends_and_the_same_command_completes(fresh: Checkout) -> None:
    workflow = start_long(fresh)

    second = fresh.table()
    assert second.returncode == 1
    assert f"another workflow works in this folder (process {workflow.pid}, started" in second.stdout
    assert fresh.run("-n", "results/table.md").returncode == 0

    os.kill(workflow.pid, signal.SIGKILL)
    workflow.wait()
    wait_gone(workflow.pid)
    # Snakemake makes a job's folder before the job; nothing may lie in it, nor beside it.
    assert not [path for path in (fresh.path / CELLS).rglob("*") if path.is_file()]

    fresh.edit("config/grids/tiny.yaml", "replays: 400", "replays: 2")
    again = fresh.table()
    assert again.returncode == 0, again.stdout
    assert f"the last workflow here (process {workflow.pid}) was killed; clearing up after it" in again.stdout
    assert sorted(path.name for path in (fresh.path / CELLS / "base").iterdir()) == [
        "cell.json",
        "session-00",
        "session-01",
    ]
    assert "Nothing to be done" in fresh.table().stdout


def test_a_restart_right_after_the_kill_waits_for_the_session_to_end(fresh: Checkout) -> None:
    workflow = start_long(fresh)
    left = sessions_of(workflow.pid)
    os.kill(workflow.pid, signal.SIGKILL)
    workflow.wait()
    fresh.edit("config/grids/tiny.yaml", "replays: 400", "replays: 2")
    again = fresh.run("--cores", "1", f"{SESSION}/session.json")
    assert again.returncode == 0, again.stdout
    assert "waiting for its jobs to end" in again.stdout or not any(process.is_running() for process in left)
    assert (fresh.path / SESSION / "session.json").exists()


def test_an_output_that_was_finished_but_not_recorded_is_made_again(finished: Checkout) -> None:
    """Killed between a job's last byte and Snakemake's record of it: the mark stays, and the job runs again."""
    session = f"{CELLS}/base/session-00/session.json"
    script = (
        "import os, sys\n"
        "import snakemake.persistence.file as file\n"
        "from snakemake.cli import main\n"
        "file.FilePersistence._unmark_incomplete = lambda self, key: os._exit(9) if 'session-00' in key else None\n"
        "main(sys.argv[1:])\n"
    )
    command = fresh_command(finished, script, "--cores", "1", "-R", session, "--", "results/table.md")
    assert subprocess.run(command, cwd=finished.path, capture_output=True).returncode == 9
    assert (finished.path / session).exists()
    look = finished.run("-n", "results/table.md")
    assert look.returncode == 1
    assert f"error: begun and not finished: {session}" in look.stdout
    assert finished.run("-n", "--rerun-incomplete", "results/table.md").returncode == 0
    again = finished.table()
    assert again.returncode == 0, again.stdout
    assert f"begun and not finished, so made again where it is needed: {session}" in again.stdout
    assert "Session 00 of tinychart-dense q8_0" in again.stdout
    assert finished.jobs("results/table.md") == {}


def fresh_command(checkout: Checkout, script: str, *arguments: str) -> list[str]:
    return [checkout.command()[0], "-c", script, *arguments]


def test_ctrl_c_ends_the_session_and_leaves_nothing_half_written(fresh: Checkout) -> None:
    workflow = start_long(fresh)
    os.killpg(workflow.pid, signal.SIGINT)
    assert workflow.wait(ENDS) != 0
    wait_gone(workflow.pid)
    assert [path for path in (fresh.path / CELLS).rglob("*") if path.is_file()] == []
    fresh.edit("config/grids/tiny.yaml", "replays: 400", "replays: 2")
    again = fresh.run("--cores", "1", f"{SESSION}/session.json")
    assert again.returncode == 0, again.stdout


def test_ctrl_c_in_a_terminal_ends_all_of_it(fresh: Checkout) -> None:
    fresh.edit("config/grids/tiny.yaml", "replays: 2", "replays: 400")
    command = fresh.command("--cores", "1", "results/table.md")
    with on_terminal(command, cwd=fresh.path) as process:
        process.read(lambda: process.ended() or list(fresh.path.glob(PLAYED)))
        assert process.process.poll() is None, process.raw[-4000:]
        assert process.terminal.page is process.terminal.other
        assert sessions_of(process.process.pid)
        process.type("\x03")
        process.read(process.ended, ENDS)
        assert process.process.returncode != 0
        assert process.is_as_it_was()
        assert "What is done is kept; the same command goes on from there." in process.raw
    assert sessions_of(process.process.pid) == []
    assert [path for path in (fresh.path / CELLS).rglob("*") if path.is_file()] == []

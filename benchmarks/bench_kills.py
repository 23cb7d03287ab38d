"""Random kills of a small grid: whether the same command always completes it, with the same bits, and leaves nothing.

    python -m benchmarks.bench_kills [--kills 100] [--minutes N] [--seed 0] [--slurm]

Each round begins without a session. The command is started and, after a time drawn from its whole length, hit by a
signal drawn from KILL, TERM and INT, sent to Snakemake, to its process group (in a terminal that is Ctrl-C), or to a
session, in which the engine runs, as soon as there is one; what is started then is hit again, up to four times in a
row. `--slurm`: through config/profiles/slurm on the Slurm of tests/workflow/start_slurm.sh, where a job is cancelled
too. Then the command runs undisturbed, and must succeed. Target: all rounds.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.bench_workflow import copy_checkout, edit_yaml, say

ENGINE = "llama-cpp-python-0.3.36"
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
TARGETS = ("snakemake", "group", "session")
CELLS = Path("results/cells")
IN_A_ROW = 4
SECONDS = 600.0  # no command takes so long


@dataclass
class Workflow:
    """A checkout and the command that makes its grid."""

    folder: Path
    options: list[str]

    def start(self) -> subprocess.Popen[bytes]:
        """The command, in a process group of its own; what it prints goes to `output.log`."""
        with open(self.folder / "output.log", "ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "snakemake", "--nocolor", *self.options],
                cwd=self.folder,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )

    def completes(self) -> bool:
        """Whether the command succeeds."""
        return self.start().wait(SECONDS) == 0

    def sessions(self) -> list[psutil.Process]:
        """The processes that play a session of this checkout."""
        return [each for each in self.processes() if "scripts.run_session" in " ".join(_command(each))]

    def processes(self) -> list[psutil.Process]:
        """The processes that work in this checkout; the engine's folder of weights included."""
        found = []
        for process in psutil.process_iter():
            try:
                if Path(process.cwd()).is_relative_to(self.folder):
                    found.append(process)
            except (psutil.Error, OSError):
                continue
        return found

    def jobs(self) -> list[str]:
        """The ids of this checkout's jobs in Slurm's queue."""
        listed = subprocess.run(["squeue", "--noheader", "--format=%i %Z"], capture_output=True, text=True)
        rows = (line.split(" ", 1) for line in listed.stdout.splitlines())
        return [job for job, folder in rows if Path(folder) == self.folder]

    def clear(self) -> None:
        """Back to where no session was run."""
        for path in (CELLS, Path("results/unchecked")):
            shutil.rmtree(self.folder / path, ignore_errors=True)
        for path in (self.folder / "results").glob("*.*"):
            if path.is_file() and path.name != "grid.json" and not path.name.startswith("."):
                path.unlink()

    def bits(self) -> dict[str, str]:
        """The sha256 of every transcript and of all logprobs."""
        files = sorted((self.folder / CELLS).rglob("replay-*.jsonl"))
        return {
            str(file.relative_to(self.folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if ".timing." not in file.name
        }

    def left(self, slurm: bool) -> list[str]:
        """What ought not to be there once the command has ended, a few seconds given."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            found = [f"process {each.pid}" for each in self.processes()] + (self.jobs() if slurm else [])
            found += [str(path) for path in (self.folder / CELLS).rglob("*.partial")]
            if not found:
                return []
            time.sleep(0.2)
        return found


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def hit(workflow: Workflow, running: subprocess.Popen[bytes], target: str, number: signal.Signals) -> bool:
    """Send the signal, once there is a session or job to be hit; whether there was before the command ended."""
    asked = {"session": workflow.sessions, "job": workflow.jobs}.get(target)
    while asked and running.poll() is None and not asked():
        time.sleep(0.1)
    if running.poll() is not None:
        return False
    if target == "snakemake":
        running.send_signal(number)
    elif target == "group":
        os.killpg(running.pid, number)
    elif target == "job":
        jobs = workflow.jobs()
        if not jobs:
            return False
        subprocess.run(["scancel", random.choice(jobs)], check=False)
    else:
        sessions = workflow.sessions()
        if not sessions:
            return False
        try:
            random.choice(sessions).send_signal(number)
        except psutil.Error:
            return False
    return True


def prepare(folder: Path, slurm: bool) -> Workflow:
    """A small grid whose engine and weights are there."""
    copy_checkout(folder)

    def shrink(grid: dict[str, object]) -> None:
        names = {"models": ["tinychart-dense"], "precisions": ["q8_0"], "engines": [ENGINE]}
        grid.update(sessions=2, replays=1, forced=0, blocks=[{**names, "variants": ["base"]}])
        for key in ("ablations", "compare"):
            grid.pop(key, None)

    def shorten(workload: dict[str, Any]) -> None:
        del workload["scenarios"][1:], workload["scenarios"][0]["questions"][2:]

    edit_yaml(folder / "config/grids/embedded.yaml", shrink)
    edit_yaml(folder / "config/workloads/chartist-mini.yaml", shorten)
    options = ["results/table.md", "--config", "grid=embedded"]
    local = Workflow(folder, ["--cores", "2", *options])
    if not local.completes():
        sys.exit((folder / "output.log").read_text()[-3000:])
    if not slurm:
        return local
    quick = ["--slurm-init-seconds-before-status-checks", "2", "--latency-wait", "3"]
    return Workflow(folder, ["--workflow-profile", "config/profiles/slurm", *quick, *options])


def main() -> None:
    """Kill and count."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=100, help="how many signals are sent at least")
    parser.add_argument("--seed", type=int, default=0, help="what targets, signals and times are drawn from")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="no round is begun after these")
    parser.add_argument("--slurm", action="store_true", help="through Slurm")
    given = parser.parse_args()
    random.seed(given.seed)
    targets = (*TARGETS, "job") if given.slurm else TARGETS
    with tempfile.TemporaryDirectory() as aside:
        workflow = prepare(Path(aside).resolve() / "checkout", given.slurm)
        expected = workflow.bits()
        workflow.clear()
        begun = time.monotonic()
        if not workflow.completes() or workflow.bits() != expected:
            sys.exit("the grid is not made, or other bits are, before anything was killed")
        whole = time.monotonic() - begun
        sent: Counter[str] = Counter()
        tried = rounds = 0
        failed = []
        begun = time.monotonic()
        while sum(sent.values()) < given.kills and time.monotonic() - begun < 60 * given.minutes:
            workflow.clear()
            (workflow.folder / "output.log").write_bytes(b"")
            tried += 1
            hits = []
            for _ in range(random.randint(1, IN_A_ROW)):
                running = workflow.start()
                time.sleep(random.uniform(0, whole))
                target, number = random.choice(targets), random.choice(SIGNALS)
                if hit(workflow, running, target, number):
                    hits.append("scancel" if target == "job" else f"{number.name} {target}")
                running.wait(SECONDS)
            sent.update(hits)
            rounds += bool(hits)
            print(f"round {tried}: {', '.join(hits) or 'nothing was hit'}", file=sys.stderr, flush=True)
            problem = judge(workflow, expected, given.slurm)
            if problem:
                failed.append(f"round {tried} ({', '.join(hits)}): {problem}")
                print(failed[-1], flush=True)
                print((workflow.folder / "output.log").read_text("utf-8", "replace")[-4000:], flush=True)
        print(f"signals sent: {dict(sorted(sent.items()))}; the command undisturbed takes {whole:.0f} s")
    where = "through Slurm" if given.slurm else "locally"
    figure = f"{rounds - len(failed)} of {rounds} rounds that hit something, {sum(sent.values())} signals"
    say(f"completed {where} by the same command, bits equal, nothing left", figure, "all", not failed)


def judge(workflow: Workflow, expected: dict[str, str], slurm: bool) -> str | None:
    """What is wrong once the command has been given again; None where nothing is."""
    if not workflow.completes():
        return "the same command does not complete"
    if workflow.bits() != expected:
        return "other bits"
    left = workflow.left(slurm)
    return f"left: {', '.join(left)}" if left else None


if __name__ == "__main__":
    main()

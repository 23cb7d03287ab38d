"""A copy of the checkout in which Snakemake is run for real; it shares the engine's environment and the models."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from tests.patience import HANGS, wait_until

ENGINE = "llama-cpp-python-0.3.36"
CELLS = f"results/cells/tinychart-dense/q8_0/{ENGINE}"
LEFT_OUT = (".git", ".venv", ".envs", ".snakemake", "results", "resources", "benchmarks")
CACHES = shutil.ignore_patterns("__pycache__", ".*_cache", ".hypothesis")

# Small enough for a session of seconds: one scenario, two questions, two cells of which one is a control.
WORKLOAD = {
    "name": "tiny",
    "system": "You read price charts. Use the tools. Answer each question with the tool answer.",
    "limits": {"max_tokens": 96, "max_turns": 4},
    "scenarios": [
        {
            "name": "four-hours",
            "intro": "The workspace holds chart.csv: 12 bars of 4 hours.",
            "files": {"chart.csv": {"chart": {"seed": 7, "timeframe": "4h", "bars": 12}}},
            "questions": [
                {"ask": "value_of_bar", "field": "close", "bar": 7},
                {"ask": "highest_high", "first": 1, "last": 12},
            ],
        }
    ],
}
GRID = {
    "description": "what the tests run",
    "workload": "tiny",
    "sessions": 2,
    "replays": 2,
    "forced": 0,
    "estimate": {"tokens_per_replay": 100, "tokens_per_second": 100, "start_seconds": 1},
    "blocks": [
        {"models": ["tinychart-dense"], "precisions": ["q8_0"], "engines": [ENGINE], "variants": ["base"]},
        {
            "models": ["tinychart-dense"],
            "precisions": ["q8_0"],
            "engines": [ENGINE],
            "variants": ["leaky"],
            "expect": ["harness"],
        },
    ],
}


@dataclass
class Checkout:
    """A copy of the checkout in which Snakemake is run."""

    path: Path
    environment: dict[str, str] = field(default_factory=dict)
    python: str = sys.executable

    def copy(self, folder: Path) -> Checkout:
        """A copy of it in `folder`, links as they are."""
        shutil.copytree(self.path, folder, symlinks=True)
        return Checkout(folder)

    def command(self, *arguments: str) -> list[str]:
        return [self.python, "-m", "snakemake", "--nocolor", *arguments]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Snakemake with these arguments, stdout and stderr together in `stdout`."""
        return subprocess.run(
            self.command(*arguments),
            cwd=self.path,
            env={**os.environ, **self.environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANGS,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Snakemake in a process group of its own, its output in the file `output.log`."""
        with open(self.path / "output.log", "w") as output:
            return subprocess.Popen(
                self.command(*arguments),
                cwd=self.path,
                env={**os.environ, **self.environment},
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
                preexec_fn=_heed_ctrl_c,
            )

    def wait_until(self, workflow: subprocess.Popen[str], holds: Callable[[], object]) -> None:
        """Return once it holds; AssertionError with what the workflow printed where that ended before."""
        output = (self.path / "output.log").read_text
        wait_until(lambda: workflow.poll() is not None or holds(), output)
        assert workflow.poll() is None, output()

    def table(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """The command that a person gives, for the tests' grid."""
        return self.run("--cores", "1", "results/table.md", *arguments)

    def jobs(self, *arguments: str) -> dict[str, int]:
        """How many jobs of each rule a dry run would run."""
        done = self.run("-n", *arguments)
        assert done.returncode == 0, done.stdout
        lines = iter(done.stdout.splitlines())
        counts: dict[str, int] = {}
        for line in lines:
            if line.startswith("Job stats:"):
                next(lines), next(lines)
                for row in lines:
                    if not row.strip() or row.startswith("total"):
                        return counts
                    rule, count = row.split()
                    counts[rule] = int(count)
        assert "Nothing to be done" in done.stdout, done.stdout
        return counts

    def edit(self, file: str, old: str, new: str) -> None:
        text = (self.path / file).read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        (self.path / file).write_text(text.replace(old, new, 1), encoding="utf-8")

    def write_yaml(self, file: str, value: object) -> None:
        (self.path / file).write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def _heed_ctrl_c() -> None:
    """What a shell starts in its background ignores Ctrl-C, and so would all that the tests start."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


Shared = Callable[[str, Callable[[Path], None]], Checkout]
"""Gives the checkout of a name, made in a folder by whoever wants it first."""


def copy_checkout(root: Path, target: Path) -> Checkout:
    """The files of `root` that make the workflow, the environments and models as links, the tests' own grid."""
    target.mkdir(parents=True)
    for entry in sorted(root.iterdir()):
        if entry.name in LEFT_OUT or entry.name.endswith("_cache") or entry.name == "tests":
            continue
        if entry.is_dir():
            shutil.copytree(entry, target / entry.name, ignore=CACHES)
        else:
            shutil.copy2(entry, target / entry.name)
    for shared in (".envs", "resources"):
        (target / shared).symlink_to(root / shared)
    checkout = Checkout(target)
    checkout.write_yaml("config/workloads/tiny.yaml", WORKLOAD)
    checkout.write_yaml("config/grids/tiny.yaml", GRID)
    checkout.edit("config/config.yaml", "grid: auto", "grid: tiny")
    return checkout

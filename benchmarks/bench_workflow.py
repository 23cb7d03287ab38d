"""What the workflow costs beside the sessions: its overhead, a second run, and the dry run of a large grid.

    python -m benchmarks.bench_workflow [--only overhead|second|dry-run]

Runs in a copy of the checkout, which shares the environments and the models. Targets: the wall time of the embedded
grid exceeds the sum of its sessions (each from its start to its end, engine included) by at most 8 % of that sum; a
second `make table` does nothing in under 10 s; a dry run of a grid of 2,000 cells takes at most 6 s.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
SHARED = (".envs", ".venv", "resources")
PRECISIONS = ("bf16", "q8_0", "q6_k", "q4_k_m")
LEFT_OUT = shutil.ignore_patterns(
    *SHARED, ".git", ".snakemake", "results", "tests", "__pycache__", ".*_cache", ".hypothesis"
)


def copy_checkout(folder: Path) -> Path:
    """A copy of the checkout in `folder`, without results, its environments and models as links."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT, symlinks=True)
    for name in SHARED:
        (folder / name).symlink_to(ROOT / name)
    return folder


def edit_yaml(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change a YAML file in place."""
    value = yaml.safe_load(path.read_text(encoding="utf-8"))
    change(value)
    path.write_text(yaml.safe_dump(value, sort_keys=False), encoding="utf-8")


def timed(folder: Path, *command: str) -> tuple[float, str]:
    """Seconds that a command took, and what it printed; it must succeed."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    begun = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    seconds = time.perf_counter() - begun
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)} failed:\n{done.stdout[-3000:]}")
    return seconds, done.stdout


def say(what: str, figure: str, target: str, met: bool) -> None:
    """One line: the figure beside its target."""
    print(f"{what}: {figure} (target: {target}) {'met' if met else 'MISSED'}", flush=True)


def session_seconds(folder: Path) -> list[float]:
    """Of each session, from its start to its end (the records are to the second)."""
    found = []
    for path in sorted(folder.glob("results/cells/**/session.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        ends = [datetime.fromisoformat(record[key]) for key in ("started", "ended")]
        found.append((ends[1] - ends[0]).total_seconds())
    return found


def bench_overhead(folder: Path) -> None:
    """The embedded grid from an empty results/, without forced replays, whose time is no session's."""
    edit_yaml(folder / "config/grids/embedded.yaml", lambda grid: grid.update(forced=0))
    wall, _ = timed(folder, "snakemake", "--cores", "1", "results/table.md", "--config", "grid=embedded")
    sessions = session_seconds(folder)
    share = wall / sum(sessions) - 1
    say(
        "workflow overhead",
        f"{share:.1%} ({wall:.0f} s for {len(sessions)} sessions of {sum(sessions):.0f} s in all)",
        "at most 8 %",
        share <= 0.08,
    )


def bench_second(folder: Path) -> None:
    """`make table` where there is nothing to do."""
    timed(folder, "make", "table")
    seconds, said = timed(folder, "make", "table")
    if "Nothing to be done" not in said:
        sys.exit(f"the second `make table` did something:\n{said[-3000:]}")
    say("second make table", f"{seconds:.1f} s", "under 10 s", seconds < 10)


def bench_dry_run(folder: Path) -> None:
    """A dry run of a grid of 50 models × 4 precisions × 10 variants, two sessions each."""
    models = [f"model-{number:02d}" for number in range(50)]
    variants = ["base", *(f"variant-{number}" for number in range(9))]

    def add_models(known: dict[str, Any]) -> None:
        known.update(dict.fromkeys(models, known["tinychart-dense"]))

    def add_variants(known: dict[str, Any]) -> None:
        for number, name in enumerate(variants[1:]):
            change = {"llama-cpp-python": {"n_batch": 64 + number}}
            known["variants"][name] = {"description": "another batch size", "arguments": change}

    edit_yaml(folder / "config/models.yaml", add_models)
    edit_yaml(folder / "config/engines.yaml", add_variants)
    grid = {
        "description": "2,000 cells",
        "workload": "chartist-mini",
        "sessions": 2,
        "replays": 3,
        "forced": 0,
        "estimate": {"tokens_per_replay": 1300, "tokens_per_second": 500, "start_seconds": 1},
        "blocks": [
            {
                "models": models,
                "precisions": list(PRECISIONS),
                "engines": ["llama-cpp-python-0.3.36"],
                "variants": variants,
            }
        ],
    }
    (folder / "config/grids/large.yaml").write_text(yaml.safe_dump(grid, sort_keys=False), encoding="utf-8")
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    seconds, said = timed(folder, "snakemake", "-n", "results/table.md", "--config", "grid=large")
    computed = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before
    jobs = next(line.split()[1] for line in said.splitlines() if line.startswith("total"))
    figure = f"{seconds:.1f} s, {computed:.1f} s of it computing ({int(jobs):,} jobs)"
    say("dry run of 2,000 cells", figure, "at most 6 s", seconds <= 6)


BENCHES = {"overhead": bench_overhead, "second": bench_second, "dry-run": bench_dry_run}


def main() -> None:
    """Run the benchmarks that are asked for, each after the other in one copy of the checkout."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench_workflow", description=__doc__)
    parser.add_argument("--only", choices=BENCHES, help="one of them")
    only = parser.parse_args().only
    with tempfile.TemporaryDirectory(prefix="tempzero-bench-") as scratch:
        folder = copy_checkout(Path(scratch) / "checkout")
        for name, bench in BENCHES.items():
            if only in (None, name):
                bench(folder)


if __name__ == "__main__":
    main()

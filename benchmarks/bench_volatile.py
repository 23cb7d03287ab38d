"""How long, and in how much memory, `find_volatile` compares two logs.

Prints one JSON line a case: MB of the larger log, CPU and wall seconds, peak memory of the command in MB, how many
times the larger log that is (an empty comparison's taken off), and what the command said.
`listings`: every line of every result has a time of its own (0.25 MB, 4,000 differences); `twice`: twice as many calls.
`equal`, `sparse`: 50 MB without a difference, and with one in every result; `lines`: `sparse` as JSON Lines.
`parted`: 5 MB, the second half of it after a parting.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
Results = Iterator[tuple[str, str]]
# CPU seconds that a case may take; peak memory may be five times the larger log.
TARGETS = {"listings": 2.0, "twice": 4.0, "equal": 10.0, "sparse": 10.0, "lines": 10.0, "parted": 10.0}
LARGEST = 5.0
WORDS = ["the", "quick", "brown", "fox", "jumps", "over", "a", "lazy", "dog", "while", "tests", "pass"]


def listings(rng: random.Random, calls: int) -> Results:
    """Directory listings in which every line's time is of the run."""
    for number in range(calls):
        lines = []
        for line in range(20):
            clock = f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}"
            lines.append(f"-rw-r--r-- 1 a a {line * 37} Nov 25 {clock} file{number}_{line}.txt\n")
        yield f"call {number}", "".join(lines)


def prose(rng: random.Random, megabytes: float, *, times: bool) -> Results:
    """Results of 10 kB that are the same in both runs, but for one time each."""
    plan = random.Random(0)
    for number in range(int(megabytes * 100)):
        text = "\n".join(" ".join(plan.choices(WORDS, k=14)) for _ in range(140))
        clock = (
            f"{rng.randrange(24):02d}:{rng.randrange(60):02d}:{rng.randrange(60):02d}" if times else "noon"
        )
        yield f"call {number}", f"{text}\nread at {clock}\n{text[:200]}"


def parted(rng: random.Random) -> Results:
    """Runs that make another call in the middle."""
    for number, (call, text) in enumerate(prose(rng, 5, times=True)):
        yield f"call {rng.random()}" if number == 250 else call, text


CASES: dict[str, Callable[[random.Random], Results]] = {
    "listings": lambda rng: listings(rng, 200),
    "twice": lambda rng: listings(rng, 400),
    "equal": lambda rng: prose(rng, 50, times=False),
    "sparse": lambda rng: prose(rng, 50, times=True),
    "lines": lambda rng: prose(rng, 50, times=True),
    "parted": parted,
}


def write_log(path: Path, results: Results, *, lines: bool) -> None:
    """Write a chat log of a tool's calls."""
    with open(path, "w", encoding="utf-8") as stream:
        stream.write("" if lines else "[")
        stream.write(json.dumps({"role": "user", "content": "go"}))
        for number, (asked, text) in enumerate(results):
            function = {"name": "bash", "arguments": json.dumps({"command": asked})}
            call = {"id": f"c{number}", "type": "function", "function": function}
            for message in (
                {"role": "assistant", "content": None, "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"c{number}", "content": text},
            ):
                stream.write(("\n" if lines else ", ") + json.dumps(message))
        stream.write("" if lines else "]")


def measure(one: Path, other: Path) -> tuple[str, float, float]:
    """The command's last line, its CPU seconds and its peak resident MB."""
    command = [sys.executable, "-m", "scripts.find_volatile", str(one), str(other)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    said = process.stdout.read() if process.stdout else ""
    _, status, usage = os.wait4(process.pid, 0)
    if os.waitstatus_to_exitcode(status) not in (0, 1):
        raise SystemExit(f"{' '.join(command)} failed")
    return said.splitlines()[-1], usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    """Parse arguments, make the logs, print the figures; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--case", choices=list(CASES), nargs="+", default=list(CASES))
    given = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory() as folder:
        one, other = (Path(folder) / name for name in ("one.json", "other.json"))
        for path in (one, other):
            write_log(path, iter([("a", "b")]), lines=False)
        _, _, empty = measure(one, other)
        for case in given.case:
            for seed, path in enumerate((one, other), start=1):
                write_log(path, CASES[case](random.Random(seed)), lines=case == "lines")
            started = time.perf_counter()
            said, seconds, peak = measure(one, other)
            wall = time.perf_counter() - started
            size = max(path.stat().st_size for path in (one, other)) / 2**20
            times = (peak - empty) / size
            missed |= seconds > TARGETS[case] or (size > 1 and times > LARGEST)
            result = {
                "case": case,
                "mb": round(size, 2),
                "cpu_seconds": round(seconds, 2),
                "wall_seconds": round(wall, 2),
            }
            result |= {
                "target_seconds": TARGETS[case],
                "peak_mb": round(peak, 1),
                "times_the_log": round(times, 1),
                "said": said,
            }
            print(json.dumps(result), flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

"""How long, and in how much memory, `summarise_cell` reads many replays.

Prints one JSON line a case: replays, tokens a replay, seconds, peak memory of the command in MB.
`equal`: all replays are the same bytes. `distinct`: every replay has a flip of its own and its own bits, and
the contexts that it shares are most of it, so that nothing is read once for two and all of it is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from scripts.records.session import SessionRecord
from scripts.records.transcript import Turn, TurnLogprobs

ROOT = Path(__file__).resolve().parents[1]
TARGETS = {"equal": 20.0, "distinct": 120.0}
TURNS = 20
SCENARIOS = 3


def make_transcript(tokens: int, flip: int | None) -> str:
    """A transcript; `flip`: index in the last turn of the first scenario from which ids are others."""
    plan = np.random.default_rng(0)
    length = tokens // (TURNS * SCENARIOS)
    lines = []
    for scenario in range(SCENARIOS):
        for turn in range(TURNS):
            prompt = plan.integers(0, 8000, 1200 if turn == 0 else 60).tolist()
            ids = plan.integers(0, 8000, length)
            if flip is not None and (scenario, turn) == (0, TURNS - 1):
                ids[flip % length :] += 8000 * (1 + flip // length)
            text = " ".join(f"w{token}" for token in ids.tolist())
            said = Turn(
                scenario=f"chart-{scenario}",
                turn=turn,
                appended_ids=prompt,
                output_ids=ids.tolist(),
                finish_reason="stop",
                text=text,
                tool_calls=[],
                tool_results=[],
                answer=None,
            )
            lines.append(said.line())
    return "".join(lines)


def make_logprobs(tokens: int, noise: np.random.Generator) -> str:
    """A logprobs file of five candidates a position, float32 values, each with noise."""
    plan = np.random.default_rng(0)
    length = tokens // (TURNS * SCENARIOS)
    lines = []
    for scenario in range(SCENARIOS):
        for turn in range(TURNS):
            steps = plan.exponential(1.5, (length, 5)).cumsum(axis=1)
            steps *= 1 + noise.normal(0, 1e-4, (length, 1))
            logprobs = (-steps).astype(np.float32).astype(np.float64)
            ids = plan.integers(0, 8000, (length, 5)).tolist()
            top = [list(zip(*pair, strict=True)) for pair in zip(ids, logprobs.tolist(), strict=True)]
            computed = TurnLogprobs(
                scenario=f"chart-{scenario}", turn=turn, chosen=logprobs[:, 0].tolist(), top=top
            )
            lines.append(computed.line())
    return "".join(lines)


def make_cell(cell: Path, case: str, replays: int, tokens: int) -> None:
    """Write a cell of four sessions.

    Equal replays are hard links, which the command cannot tell from copies. Distinct logprobs are drawn
    sixteen times; the rest differ from one of these in their first logprob.
    """
    sessions, drawn = 4, 1 if case == "equal" else 16
    noise = np.random.default_rng(1)
    logprobs = [make_logprobs(tokens, noise) for _ in range(drawn)]
    transcript = make_transcript(tokens, None)
    for number in range(replays):
        home = cell / f"session-{number * sessions // replays:02d}"
        home.mkdir(parents=True, exist_ok=True)
        count = len(list(home.iterdir())) // 2
        said, computed = (home / f"replay-{count:02d}.{kind}.jsonl" for kind in ("transcript", "logprobs"))
        if case == "equal" and number:
            for path in (said, computed):
                os.link(cell / "session-00" / path.name.replace(f"-{count:02d}.", "-00."), path)
            continue
        said.write_text(transcript if case == "equal" else make_transcript(tokens, number), encoding="utf-8")
        head, mark, tail = logprobs[number % drawn].partition('{"chosen":[-')
        own = f"0.{number:07d}1," + tail.partition(",")[2]
        computed.write_text(head + mark + own, encoding="utf-8")
    for number in range(sessions):
        home = cell / f"session-{number:02d}"
        count = len(list(home.iterdir())) // 2
        record = SessionRecord(
            model="m",
            precision="p",
            engine="e",
            variant="base",
            session=number,
            tokens=tokens * count,
            seconds=1.0,
        )
        record.write(home / "session.json")


def measure(cell: Path) -> tuple[float, float]:
    """Wall seconds and peak resident MB of the command on that cell."""
    command = [sys.executable, "-m", "scripts.summarise_cell", str(cell), "--output", str(cell / "cell.json")]
    started = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - started
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    """Parse arguments, make the cells, print the figures; 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--replays", type=int, nargs="+", default=[1000])
    parser.add_argument("--tokens", type=int, default=9960)
    parser.add_argument("--case", choices=sorted(TARGETS), nargs="+", default=sorted(TARGETS, reverse=True))
    parser.add_argument(
        "--folder", type=Path, help="where the synthetic cells go (default: a temporary folder)"
    )
    given = parser.parse_args()
    missed = False
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for case in given.case:
            for replays in given.replays:
                cell = Path(folder) / f"{case}-{replays}"
                make_cell(cell, case, replays, given.tokens)
                seconds, memory = measure(cell)
                target = TARGETS[case] if replays == 1000 else None
                missed |= target is not None and seconds > target
                result = {
                    "case": case,
                    "replays": replays,
                    "tokens": given.tokens,
                    "seconds": round(seconds, 2),
                }
                result |= {"peak_mb": round(memory, 1), "target_seconds": target}
                print(json.dumps(result), flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()

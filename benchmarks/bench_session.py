"""Tokens a second of a replay against a bare llama-cpp-python loop over the same prompts, in the same run.

    .envs/llamacpp-…/bin/python -m benchmarks.bench_session [--rounds 5]

The two take turns. The bare loop keeps no logprobs, parses nothing and writes nothing; the replay does all of it,
and its time is that of the whole replay, files included. Target: at least 0.95 of the bare loop's tokens a second.
"""

from __future__ import annotations

import argparse
import io
import statistics
import tempfile
import time
from pathlib import Path

import llama_cpp

from scripts.engines.llama_cpp_python import write_log_to
from scripts.engines.start import start_engine
from scripts.quants.build import build_quant
from scripts.records.models import Precision
from scripts.records.settings import HarnessSettings, Settings
from scripts.records.transcript import Turn
from scripts.sessions.load import Load
from scripts.sessions.play import Player
from scripts.sessions.progress import Progress
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload

SETTINGS = Settings(
    model="tinychart",
    architecture="unknown",
    precision="bf16",
    engine="llama-cpp-python",
    variant="base",
    kind="llama-cpp-python",
    runtime="process",
    arguments={"n_ctx": 4096},
    environment={},
    harness=HarnessSettings(),
    top_logprobs=5,
)


def prompts_of(transcript: Path) -> list[list[tuple[list[int], int]]]:
    """The episodes of a transcript: each turn's whole prompt and how many ids were generated."""
    episodes: dict[str, list[tuple[list[int], int]]] = {}
    grown: dict[str, list[int]] = {}
    for turn in Turn.read_lines(transcript):
        prompt = grown.get(turn.scenario, []) + turn.appended_ids
        episodes.setdefault(turn.scenario, []).append((prompt, len(turn.output_ids)))
        grown[turn.scenario] = prompt + turn.output_ids
    return list(episodes.values())


def bare_loop(llama: llama_cpp.Llama, episodes: list[list[tuple[list[int], int]]]) -> float:
    """Tokens a second of `Llama.generate` at temperature 0 over the same prompts, prefix kept in an episode."""
    started, tokens = time.perf_counter(), 0
    for episode in episodes:
        llama.reset()
        for prompt, count in episode:
            for made, _ in enumerate(llama.generate(prompt, temp=0.0), start=1):
                if made == count:
                    break
            tokens += count
    return tokens / (time.perf_counter() - started)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--model", choices=["dense", "moe"], default="dense")
    arguments = parser.parse_args()
    workload = load_workload(Path("config/workloads/chartist-mini.yaml"))
    with tempfile.TemporaryDirectory() as aside:
        folder = Path(aside)
        entry = Precision(recipe="gguf-bf16", source=f"resources/tinychart/{arguments.model}")
        build_quant(arguments.model, "bf16", entry, folder / "quant" / "manifest.json")
        player = Player(ChatForm(folder / "quant"), workload, SETTINGS)
        quiet = Progress("bench", 1, io.StringIO())
        ours, bare = [], []
        with start_engine(SETTINGS, folder / "quant", folder / "log") as engine:
            write_log_to(None)
            llama = llama_cpp.Llama(
                str(folder / "quant" / "model.gguf"),
                n_ctx=4096,
                n_threads=1,
                n_threads_batch=1,
                verbose=False,
            )
            load = Load(engine, SETTINGS, player.background)
            for number in range(arguments.rounds + 1):
                started = time.perf_counter()
                played = player.replay(number, engine, load, folder, quiet)
                rate = played.tokens / (time.perf_counter() - started)
                episodes = prompts_of(folder / f"replay-{number:02d}.transcript.jsonl")
                other = bare_loop(llama, episodes)
                if number:  # the first round warms both up
                    ours.append(rate)
                    bare.append(other)
    ratios = [a / b for a, b in zip(ours, bare, strict=True)]
    print(
        f"replay {statistics.median(ours):.0f} tokens/s, bare loop {statistics.median(bare):.0f} tokens/s, ratio "
        f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, {arguments.rounds} rounds); "
        "target at least 0.95"
    )


if __name__ == "__main__":
    main()

"""Tokens a second of a grid's cells, each with the card to itself, all in one run: python -m benchmarks.bench_alone.

    python -m benchmarks.bench_alone --grid hopper --match random-moe --output speeds.json

A batch of engines is started side by side, since most of a start is spent outside the card; then they generate in turn,
one at a time while the others wait, in several rounds, so that a drift of the machine falls on all of them alike. The
weights must be there: run the grid first. What is printed is the median of the rounds, with the least and the greatest.

    python -m benchmarks.bench_alone --page results/reference/hopper/speeds.json

makes the page speeds.md beside the figures.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import TempzeroError, run_command
from scripts.common.files import write_whole
from scripts.common.protocol import Engine
from scripts.engines.server_process import serve_process
from scripts.engines.start import start_engine
from scripts.grid.configuration import load_configuration
from scripts.grid.resolve import Cell, cell_settings, gpu_memory, resolve_cells
from scripts.provenance.environments import env_python
from scripts.provenance.machine import describe_machine
from scripts.records.base import FileRecord, Record
from scripts.records.engine import EngineRecord
from scripts.records.machine import Machine
from scripts.records.settings import Settings
from scripts.report.figures import DASH
from scripts.workload.chat import ChatForm
from scripts.workload.episode import TOOL_SCHEMAS, first_messages
from scripts.workload.spec import load_workload

WARM_UP = 32


class Speed(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Tokens a second of a cell: the median, least and greatest of the rounds; or why it did not run."""

    cell: str
    tokens_per_second: float = 0.0
    least: float = 0.0
    greatest: float = 0.0
    failed: str | None = None


class Speeds(FileRecord, frozen=True, kw_only=True):
    """What a run found, each generation of so many `tokens`."""

    machine: Machine
    tokens: int
    cells: list[Speed]


@dataclass(frozen=True)
class Asked:
    """A cell that is measured, its settings, its workload, and the locked environment of its engine, if any."""

    cell: Cell
    settings: Settings
    workload: Path
    lock: str | None


def main() -> None:
    """Start, generate in turn, print."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bench_alone",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--grid", help="a file of config/grids/")
    what.add_argument(
        "--page", type=Path, metavar="JSON", help="measure nothing: make the page of these figures"
    )
    parser.add_argument("--match", default="", help="only cells whose path has this in it")
    parser.add_argument("--tokens", type=int, default=400, help="tokens of a generation (default: 400)")
    parser.add_argument("--rounds", type=int, default=3, help="generations of each engine (default: 3)")
    parser.add_argument("--batch", type=int, default=12, help="engines up at once, at most (default: 12)")
    parser.add_argument(
        "--memory", type=float, default=70, help="GB of the GPU that they may take together (default: 70)"
    )
    parser.add_argument("--output", type=Path, help="the figures, as JSON")
    given = parser.parse_args()
    if given.page:
        write_whole(given.page.with_suffix(".md"), render(Speeds.read(given.page)))
        return
    configuration = load_configuration(Path(), {"grid": given.grid})
    cells = [
        cell for cell in resolve_cells(configuration) if cell.planned is None and given.match in cell.path
    ]
    rows: list[Speed] = []
    sizes = [gpu_memory(configuration.models[cell.model].precisions[cell.precision]) for cell in cells]
    for chosen in batches(sizes, given.batch, given.memory):
        batch = [
            Asked(
                cell,
                cell_settings(configuration, cell),
                Path(configuration.workloads[cell.workload][0]),
                configuration.engines[cell.engine].lock,
            )
            for cell in (cells[each] for each in chosen)
        ]
        rows += measure(batch, tokens=given.tokens, rounds=given.rounds)
        if given.output:
            Speeds(machine=describe_machine(), tokens=given.tokens, cells=rows).write(given.output)
    for row in rows:
        print(json.dumps(row.as_json()))


def batches(sizes: Sequence[float], most: int, memory: float) -> list[list[int]]:
    """The indices of `sizes` in order, in batches of at most `most` whose sum is at most `memory`, or of one alone."""
    found: list[list[int]] = []
    for index, size in enumerate(sizes):
        if found and len(found[-1]) < most and sum(sizes[each] for each in found[-1]) + size <= memory:
            found[-1].append(index)
        else:
            found.append([index])
    return found


def render(found: Speeds) -> str:
    """The page of the figures that a run wrote: each cell against the dense model in bf16, and against its own base."""
    rates = {row.cell: row.tokens_per_second for row in found.cells if row.failed is None}

    def against(cell: str, other: str) -> str:
        return DASH if cell == other or other not in rates else f"{rates[cell] / rates[other]:.2f}"

    rows = []
    for row in found.cells:
        model, precision, engine, variant = row.cell.split("/")
        if row.cell not in rates:
            rows.append([model, precision, variant, engine, "not run", DASH, DASH])
            continue
        dense = f"{model.partition('-')[0]}-dense/bf16/{engine}/base"
        spread = f"{row.tokens_per_second:.0f} ({row.least:.0f} to {row.greatest:.0f})"
        base = f"{model}/{precision}/{engine}/base"
        rows.append(
            [model, precision, variant, engine, spread, against(row.cell, dense), against(row.cell, base)]
        )
    head = ["model", "precision", "variant", "engine", "tokens/s", "× dense bf16", "× its base"]
    gpus = ", ".join(sorted({each.name for each in found.machine.gpus or []}))
    return "\n".join(
        [
            "# Speed, with the card to itself",
            "",
            f"{gpus}, one request at a time, {found.tokens} tokens a generation; in turn, the others waiting.",
            "Median of the rounds (least to greatest). A ratio nearer to 1 than these spreads says nothing.",
            "",
            "| " + " | ".join(head) + " |",
            "|:--|:--|:--|:--|--:|--:|--:|",
            *("| " + " | ".join(each) + " |" for each in rows),
            "",
        ]
    )


def measure(batch: Sequence[Asked], *, tokens: int, rounds: int) -> list[Speed]:
    """A row a cell: median, least and greatest tokens a second over `rounds`; an engine that fails says why."""
    found: dict[str, list[float]] = {each.cell.path: [] for each in batch}
    failed: dict[str, str] = {}
    with ExitStack() as stack, tempfile.TemporaryDirectory() as logs:
        with ThreadPoolExecutor(len(batch)) as pool:
            starts = {
                each.cell.path: pool.submit(_start, stack, each, Path(logs) / f"{number}.log")
                for number, each in enumerate(batch)
            }
        engines: dict[str, Engine] = {}
        for path, start in starts.items():
            try:
                engines[path] = start.result()
            except TempzeroError as error:
                failed[path] = str(error)
        prompts = {each.cell.path: _prompt(each.cell, each.workload) for each in batch}
        for number in range(rounds + 1):  # the first round warms up
            for path, engine in list(engines.items()):
                count = tokens if number else WARM_UP
                try:
                    engine.reset()
                    begun = time.perf_counter()
                    made = engine.generate(prompts[path], max_tokens=count, stop_ids=[], top_logprobs=5)
                except TempzeroError as error:
                    failed[path] = str(error)
                    del engines[path]
                    continue
                if number:
                    found[path].append(len(made.output_ids) / (time.perf_counter() - begun))
            print(f"round {number} of {rounds}, {len(engines)} engines", file=sys.stderr, flush=True)
    return [
        Speed(cell=path, failed=failed[path])
        if path in failed
        else Speed(
            cell=path,
            tokens_per_second=round(statistics.median(rates), 1),
            least=round(min(rates), 1),
            greatest=round(max(rates), 1),
        )
        for path, rates in found.items()
    ]


def _start(stack: ExitStack, asked: Asked, log: Path) -> Engine:
    cell, settings = asked.cell, asked.settings
    weights = Path(f"results/quants/{cell.model}/{cell.precision}")
    if settings.runtime == "process" and asked.lock is not None and settings.kind != "llama-cpp-python":
        python = str(env_python(Path(asked.lock)))
        return stack.enter_context(serve_process(settings, weights, log, python=python))
    record = EngineRecord.read(Path(f"results/engines/{cell.engine}.json"))
    return stack.enter_context(start_engine(settings, weights, log, record))


def _prompt(cell: Cell, workload_file: Path) -> list[int]:
    chat = ChatForm(Path(f"results/quants/{cell.model}/{cell.precision}"))
    workload = load_workload(workload_file)
    return chat.first_prompt(first_messages(workload, workload.scenarios[0]), TOOL_SCHEMAS)


if __name__ == "__main__":
    run_command(main)

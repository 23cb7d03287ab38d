"""A synthetic grid as a workflow leaves it, tables and all, made by the real code; with the workflow's code on demand."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from scripts.archive.crate import STEPS
from scripts.common.files import sha256_file, write_json
from scripts.report.ablation import make_page
from scripts.report.controls import as_json, read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page
from scripts.report.web.page import render_report
from scripts.verdict.forced import pass_line, summarise_forced
from scripts.verdict.summary import summarise
from scripts.workload.spec import load_workload
from tests.unit.cells import PlantedReplay, answered, part, write_cell

ROOT = Path(__file__).resolve().parents[2]
NAME = "llama-cpp-python-0.3.36"
KEYS = ("tinychart-dense", "bf16", NAME)
BASE = f"results/cells/{'/'.join(KEYS)}/base"
JITTER = f"results/cells/{'/'.join(KEYS)}/jitter"
MANIFEST = "results/quants/tinychart-dense/bf16/manifest.json"
ENGINE = f"results/engines/{NAME}.json"
WORKLOAD = "config/workloads/free-run.yaml"
CODE = ["Snakefile", "README.md", "CITATION.cff", "LICENSE", "envs/workflow.lock", "envs/llamacpp.lock"]
CODE += [f"scripts/{step}.py" for step in STEPS]
PAGE = f"results/ablation/{'-'.join(KEYS)}.md"

PLAIN: PlantedReplay = {"first": [part([1, 2], [3, 4, 5, 6], answer=answered(1, True))]}
TIE = [(4, -0.7), (9, -0.71), (11, -3.0), (12, -4.0), (13, -5.0)]
NEAR: PlantedReplay = {
    "first": [part([1, 2], [*[3] * 20, 4, 6], tops={20: TIE}, answer=answered(1, True))],
}
FLIPPED: PlantedReplay = {"first": [part([1, 2], [*[3] * 20, 9], tops={20: TIE}, answer=answered(1, False))]}


def write_grid(home: Path, *, code: bool = False, forced: bool = True, **grid: Any) -> Path:
    """A grid of two cells under `home`: `base`, whose four replays are equal, with two forced passes a mode, and a
    control `jitter`, of which one of four replays flips at a near tie; and a page of ablations.

    `code`: what an archive describes of the code lies beside it. `grid` is laid over grid.json.
    """
    for name in [WORKLOAD, *(CODE if code else ())]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, home / name)
    model, precision, engine = KEYS
    quant = {"model": model, "precision": precision, "quantised": "nothing (bf16)", "bytes": 5, "files": []}
    write_json(home / MANIFEST, {**quant, "source": {"checkpoint": "a test"}})
    lock = "envs/llamacpp.lock"
    record = {"engine": engine, "kind": "llama-cpp-python", "runtime": "process", "lock": lock}
    write_json(home / ENGINE, {**record, "lock_sha256": sha256_file(ROOT / lock)})
    _cell(home, BASE, [[PLAIN, PLAIN], [PLAIN, PLAIN]])
    _cell(home, JITTER, [[NEAR, NEAR], [NEAR, FLIPPED]])
    if forced:
        write_forced(home / BASE)
    passes = {"prefill": 2, "decode": 2}
    none = {"prefill": 0, "decode": 0}
    cells = [
        _planned("base", passes if forced else none, None),
        _planned("jitter", none, "logit noise"),
    ]
    ablation = {
        **dict(zip(("model", "precision", "engine"), KEYS, strict=True)),
        "baseline": "base",
        "question": None,
        "changes": [{"variant": "jitter", "changed": ["arguments.jitter: 0 → 0.05"]}],
    }
    write_json(
        home / "results/grid.json",
        {
            "grid": "test",
            "why": "a test",
            "heading": "grid test (a test): 2 cells",
            "description": "what the tests judge",
            "workload": "free-run",
            "first_block": 16,
            "tie_margin": 0.25,
            "top_logprobs": 5,
            "partial": False,
            "cells": cells,
            "controls": [{"cell": JITTER.removeprefix("results/cells/"), "expect": ["near-tie"]}],
            "ablations": [ablation],
            **grid,
        },
    )
    judge(home)
    return home


def judge(home: Path) -> None:
    """Write every cell.json, table and page again from what lies under `home`, as the workflow's rules do."""
    grid = json.loads((home / "results/grid.json").read_text())
    for folder in (BASE, JITTER):
        if (home / folder).is_dir():
            write_json(home / folder / "cell.json", summarise(home / folder))
    entries = read_entries(grid, home / "results")
    readings = read_controls(grid, entries)
    (home / "results/table.md").write_text(render_page(grid, entries, readings))
    (home / "results/table.csv").write_text(everything(entries).to_csv(index=False, lineterminator="\n"))
    (home / "results/controls.json").write_text(json.dumps(as_json(readings)))
    (home / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (home / PAGE).write_text(make_page(grid, home / "results", KEYS))
    pages = [(Path(PAGE).stem, (home / PAGE).read_text())]
    report = render_report(grid, entries, readings, home / "results", pages)
    (home / "results/report.html").write_text(report)


def write_forced(cell: Path, load: Mapping[str, Any] | None = None) -> None:
    """Two forced passes a mode of the cell's first transcript, equal but for one margin; `load` as a session says it."""
    (cell / "forced").mkdir(exist_ok=True)
    for mode in ("prefill", "decode"):
        for number in range(2):
            margins = [2.0, 2.0, 2.0 + number / 8, 2.0]
            digests = ["a" * 16, "b" * 16, f"{number}" * 16, "d" * 16]
            line = pass_line(
                "first", 0, digests=digests, margins=margins, argmax=[3, 4, 5, 6], chosen=[-0.1] * 4
            )
            (cell / "forced" / f"pass-{number:02d}.{mode}.jsonl").write_text(line)
    transcript = cell / "session-00/replay-00.transcript.jsonl"
    summary = summarise_forced(cell, scenarios=["first"], not_run={})
    write_json(cell / "forced.json", {**summary, "load": load, "transcript_sha256": sha256_file(transcript)})


def _cell(home: Path, folder: str, sessions: list[list[PlantedReplay]]) -> None:
    workload = load_workload(home / WORKLOAD)
    machine = {"cpu": "a processor", "gpus": [], "memory_bytes": 2**34}
    records: list[dict[str, Any]] = []
    for number, replays in enumerate(sessions):
        tokens = [len(replay["first"][0].ids) for replay in replays]
        begun = "2026-01-02T03:04:05+00:00"
        records.append(
            {
                "replay_tokens": tokens,
                "replay_seconds": [0.4] * len(replays),
                "seconds": 0.4 * len(replays),
                "wall_seconds": 1.0,
                "started": begun,
                "ended": f"2026-01-02T03:05:{10 + number}+00:00",
            }
        )
    write_cell(
        home / folder,
        sessions,
        listed=True,
        records=records,
        variant=folder.rpartition("/")[2],
        engine_record=json.loads((home / ENGINE).read_text()),
        weights={"manifest_sha256": sha256_file(home / MANIFEST)},
        workload={"name": workload.name, "sha256": workload.sha256},
        questions=workload.questions,
        resolved={"version": "0.3.36"},
        settings={"top_logprobs": 5},
        environment={"OMP_NUM_THREADS": "1"},
        machine=machine,
    )
    for number, replays in enumerate(sessions):
        for count, replay in enumerate(replays):
            turn = {"scenario": "first", "turn": 0, "tokens": len(replay["first"][0].ids), "seconds": 0.4}
            timing = home / folder / f"session-{number:02d}/replay-{count:02d}.timing.jsonl"
            timing.write_text(json.dumps(turn) + "\n")


def _planned(variant: str, forced: dict[str, int], note: str | None) -> dict[str, Any]:
    return {
        **dict(zip(("model", "precision", "engine"), KEYS, strict=True)),
        "architecture": "dense",
        "variant": variant,
        "sessions": 2,
        "replays": 2,
        "forced": forced,
        "workload": "free-run",
        "status": "run",
        "reason": None,
        "note": note,
    }

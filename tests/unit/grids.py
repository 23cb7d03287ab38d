"""A synthetic grid as a workflow leaves it, tables and all, made by the real code; with the workflow's code on demand."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from scripts.archive.crate import STEPS
from scripts.common.files import sha256_file
from scripts.records.engine import Described, EngineRecord
from scripts.records.forced import Mode, PassTurn
from scripts.records.grid import AblationRecord, Change, Control, Grid, GridCell, Passes
from scripts.records.machine import Machine
from scripts.records.manifest import Manifest, WeightsSource
from scripts.records.session import LoadRecord, WeightsSum, WorkloadSum
from scripts.records.settings import HarnessSettings, Settings
from scripts.records.transcript import TurnTiming
from scripts.report.ablation import make_page
from scripts.report.controls import as_json, read_controls
from scripts.report.entries import read_entries
from scripts.report.frames import everything
from scripts.report.page import render_page
from scripts.report.web.page import render_report
from scripts.verdict.forced import summarise_forced
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
OTHER_TIE = [(9, -0.7), (4, -0.71), (11, -3.0), (12, -4.0), (13, -5.0)]
NEAR: PlantedReplay = {
    "first": [part([1, 2], [*[3] * 20, 4, 6], tops={20: TIE}, answer=answered(1, True))],
}
FLIPPED: PlantedReplay = {
    "first": [part([1, 2], [*[3] * 20, 9], tops={20: OTHER_TIE}, answer=answered(1, False))]
}


def write_grid(home: Path, *, code: bool = False, forced: bool = True, **grid: Any) -> Path:
    """A grid of two cells under `home`: `base`, whose four replays are equal, with two forced passes a mode, and a
    control `jitter`, of which one of four replays flips at a near tie; and a page of ablations.

    `code`: what an archive describes of the code lies beside it. `grid` is laid over grid.json.
    """
    for name in [WORKLOAD, *(CODE if code else ())]:
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, home / name)
    model, precision, engine = KEYS
    Manifest(
        model=model,
        precision=precision,
        quantised="nothing (bf16)",
        bytes=5,
        files=[],
        tensor_types={},
        source=WeightsSource(recipe="a test"),
    ).write(home / MANIFEST)
    lock = "envs/llamacpp.lock"
    record = EngineRecord(
        engine=engine,
        kind="llama-cpp-python",
        runtime="process",
        image=None,
        digest=None,
        lock=lock,
        lock_sha256=sha256_file(ROOT / lock),
    )
    record.write(home / ENGINE)
    _cell(home, BASE, [[PLAIN, PLAIN], [PLAIN, PLAIN]], record)
    _cell(home, JITTER, [[NEAR, NEAR], [NEAR, FLIPPED]], record)
    if forced:
        write_forced(home / BASE)
    passes, none = Passes(prefill=2, decode=2), Passes(prefill=0, decode=0)
    written = Grid(
        grid="test",
        why="a test",
        heading="grid test (a test): 2 cells",
        description="what the tests judge",
        workload="free-run",
        cells=[
            _planned("base", passes if forced else none, None),
            _planned("jitter", none, "logit noise"),
        ],
        controls=[Control(cell=JITTER.removeprefix("results/cells/"), expect=["near-tie"])],
        ablations=[
            AblationRecord(
                model=model,
                precision=precision,
                engine=engine,
                baseline="base",
                changes=[Change(variant="jitter", changed=["jitter: 0 → 0.05"])],
            )
        ],
    )
    replace(written, **grid).write(home / "results/grid.json")
    judge(home)
    return home


def judge(home: Path) -> None:
    """Write every cell.json, table and page again from what lies under `home`, as the workflow's rules do."""
    grid = Grid.read(home / "results/grid.json")
    for folder in (BASE, JITTER):
        if (home / folder).is_dir():
            summarise(home / folder).write(home / folder / "cell.json")
    entries = read_entries(grid, home / "results")
    readings = read_controls(grid, entries)
    (home / "results/table.md").write_text(render_page(grid, entries, readings))
    (home / "results/table.csv").write_text(everything(entries).to_csv(index=False, lineterminator="\n"))
    as_json(readings).write(home / "results/controls.json")
    (home / PAGE).parent.mkdir(parents=True, exist_ok=True)
    (home / PAGE).write_text(make_page(grid, home / "results", KEYS))
    pages = [(Path(PAGE).stem, (home / PAGE).read_text())]
    report = render_report(grid, entries, readings, home / "results", pages)
    (home / "results/report.html").write_text(report)


def write_forced(cell: Path, load: LoadRecord | None = None) -> None:
    """Two forced passes a mode of the cell's first transcript, equal but for one margin; `load` as a session says it."""
    (cell / "forced").mkdir(exist_ok=True)
    modes: tuple[Mode, Mode] = ("prefill", "decode")
    for mode in modes:
        for number in range(2):
            line = PassTurn(
                scenario="first",
                turn=0,
                digests=["a" * 16, "b" * 16, f"{number}" * 16, "d" * 16],
                margins=[2.0, 2.0, 2.0 + number / 8, 2.0],
                argmax=[3, 4, 5, 6],
                chosen=[-0.1] * 4,
            )
            (cell / "forced" / f"pass-{number:02d}.{mode}.jsonl").write_text(line.line())
    transcript = cell / "session-00/replay-00.transcript.jsonl"
    found = summarise_forced(cell, scenarios=["first"], not_run={})
    replace(found, load=load, transcript_sha256=sha256_file(transcript)).write(cell / "forced.json")


def _cell(home: Path, folder: str, sessions: list[list[PlantedReplay]], engine: EngineRecord) -> None:
    workload = load_workload(home / WORKLOAD)
    machine = Machine(cpu="a processor", gpus=[], memory_bytes=2**34)
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
    variant = folder.rpartition("/")[2]
    write_cell(
        home / folder,
        sessions,
        listed=True,
        records=records,
        variant=variant,
        engine_record=engine.as_json(),
        weights=WeightsSum(manifest_sha256=sha256_file(home / MANIFEST)).as_json(),
        workload=WorkloadSum(name=workload.name, sha256=workload.sha256).as_json(),
        questions=workload.questions,
        resolved=Described(
            version="0.3.36", arguments={}, resolved={}, context_between_turns="kept"
        ).as_json(),
        settings=Settings(
            model=KEYS[0],
            architecture="dense",
            precision=KEYS[1],
            engine=KEYS[2],
            variant=variant,
            kind="llama-cpp-python",
            runtime="process",
            arguments={},
            environment={},
            harness=HarnessSettings(),
            top_logprobs=5,
        ).as_json(),
        environment={"OMP_NUM_THREADS": "1"},
        machine=machine.as_json(),
    )
    for number, replays in enumerate(sessions):
        for count, replay in enumerate(replays):
            turn = TurnTiming(scenario="first", turn=0, tokens=len(replay["first"][0].ids), seconds=0.4)
            timing = home / folder / f"session-{number:02d}/replay-{count:02d}.timing.jsonl"
            timing.write_text(turn.line())


def _planned(variant: str, forced: Passes, note: str | None) -> GridCell:
    model, precision, engine = KEYS
    return GridCell(
        model=model,
        precision=precision,
        engine=engine,
        architecture="dense",
        variant=variant,
        sessions=2,
        replays=2,
        forced=forced,
        workload="free-run",
        note=note,
    )

"""What is in an archive: the results that the grid's table follows from, and the code that judges them.

Weights are not: manifests name them by sha256. Logs are not: they may name the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from scripts.common.errors import DataError
from scripts.records.cell import Cell, read_cell
from scripts.records.engine import EngineRecord
from scripts.records.grid import Grid, GridCell, fed_folder
from scripts.records.machine import Machine
from scripts.records.manifest import Manifest
from scripts.records.models import source_quant
from scripts.records.session import ReplayFiles, SessionRecord, WeightsSum, WorkloadSum
from scripts.records.settings import Settings

GRID = "results/grid.json"
TABLES = ("results/table.md", "results/table.csv", "results/controls.json")
REPORT = "results/report.html"
WARM = "results/warm.md"  # in a reference table; an archive has no side tables
NEAR_TIES = "results/near-ties.md"  # likewise, with its figure, where it was made
NEAR_TIES_FIGURE = "results/near-ties.svg"
COMMIT = "code/commit.json"
PATCH = "code/changes.patch"
METADATA = "ro-crate-metadata.json"
SUMS = "SHA256SUMS"

# What the code is: also where there is no git to ask, as in a folder that an archive was unpacked into.
CODE_FILES = (
    "Snakefile",
    "Makefile",
    "pyproject.toml",
    "README.md",
    "CHANGELOG.md",
    "CITATION.cff",
    "LICENSE",
)
CODE_FOLDERS = ("benchmarks", "config", "containers", "envs", "resources", "rules", "scripts", "tests")
WEIGHTS = (".safetensors", ".gguf", ".bin", ".pt")


class ArchivedSession(SessionRecord, frozen=True, kw_only=True):
    """A session's record with all that is checked against what lies beside it, or described."""

    replays: int
    files: list[ReplayFiles]
    replay_tokens: list[int]
    replay_seconds: list[float]
    wall_seconds: float
    questions: int
    workload: WorkloadSum
    weights: WeightsSum
    engine_record: EngineRecord
    settings: Settings
    environment: dict[str, str]
    machine: Machine
    started: str
    ended: str


def code_files(root: Path) -> list[str]:
    """The workflow's own files under `root`, sorted; caches, hidden files and weights are left out."""
    found = [name for name in CODE_FILES if (root / name).is_file()]
    for folder in CODE_FOLDERS:
        for above, folders, files in os.walk(root / folder):
            folders[:] = sorted(name for name in folders if not _left_out(name))
            found += [
                (Path(above) / name).relative_to(root).as_posix() for name in files if not _left_out(name)
            ]
    return sorted(found)


def _left_out(name: str) -> bool:
    return name.startswith(".") or name == "__pycache__" or name.endswith((".pyc", *WEIGHTS))


def result_files(root: Path, *, report: bool = True) -> list[str]:
    """The files of the grid's results under `root`, sorted; DataError names one that is missing.

    Under `partial` a cell that has no cell.json is left out. `report`: with the page report.html.
    """
    found = expected_files(root, Grid.read(root / GRID), report=report)
    for name in found:
        if not (root / name).is_file():
            raise DataError("the file is missing", where=name, remedy="make it: snakemake --cores 1 archive")
    return found


def expected_files(root: Path, grid: Grid, *, report: bool = True) -> list[str]:
    """The files that the grid's results have, of cells those under `root`, sorted; they need not all be there."""
    cells = archived_cells(root, grid)
    found = [GRID, *TABLES, *(page_file(key) for key in ablation_keys(grid)), *grid.compared]
    found += [REPORT] if report else []
    for cell in cells:
        found += _cell_files(root, cell)
        for folder in fed_folders(root, grid, cell):
            found += [f"{folder}/forced.json", *_named(root, f"{folder}/forced", "pass-*.*.jsonl")]
        found.append(f"results/engines/{cell.engine}.json")
    if grid.requests is not None and (root / grid.requests).is_file():
        found.append(grid.requests)
    return sorted({*found, *manifest_files(root, grid)})


def workload_file(grid: Grid, name: str) -> str:
    """The file of a workload of the grid, from the root; that of requests which lies elsewhere is no part of it."""
    return grid.requests or f"config/workloads/{name}.yaml"


def archived_cells(root: Path, grid: Grid) -> list[GridCell]:
    """The grid's cells that are run; under `partial` those that have a cell.json."""
    return [
        cell
        for cell in grid.cells
        if cell.status != "planned" and (not grid.partial or (root / cell.folder / "cell.json").is_file())
    ]


def ablation_keys(grid: Grid) -> list[tuple[str, str, str]]:
    """The deployments (model, precision, engine) that the grid has a page of ablations of."""
    return sorted({(each.model, each.precision, each.engine) for each in grid.ablations})


def page_file(key: tuple[str, str, str]) -> str:
    """The page of ablations of a deployment, from the root."""
    return f"results/ablation/{'-'.join(key)}.md"


def manifest_file(model: str, precision: str) -> str:
    """The manifest of a quant, from the root."""
    return f"results/quants/{model}/{precision}/manifest.json"


def manifest_files(root: Path, grid: Grid) -> list[str]:
    """The manifests of the quants that the cells run on, and of those that these were built from, sorted."""
    found: set[str] = set()
    waiting = [(cell.model, cell.precision) for cell in archived_cells(root, grid)]
    while waiting:
        model, precision = waiting.pop()
        name = manifest_file(model, precision)
        if name in found:
            continue
        found.add(name)
        if (root / name).is_file() and (source := Manifest.read(root / name).source.from_) is not None:
            waiting.append(source_quant(model, source))
    return sorted(found)


def session_folders(root: Path, cell: GridCell) -> list[str]:
    """The folders of the sessions of a cell, from the root, sorted.

    Of a cell with a question those that its answer took: an answer that came later may have left others.
    """
    found = sorted(
        path.relative_to(root).as_posix() for path in (root / cell.folder).glob("session-*") if path.is_dir()
    )
    summary = root / cell.folder / "cell.json"
    if cell.question is not None and summary.is_file():
        judged = read_cell(summary)
        return found[: judged.sessions] if isinstance(judged, Cell) else found
    return found


def _cell_files(root: Path, cell: GridCell) -> Iterator[str]:
    yield f"{cell.folder}/cell.json"
    for folder in session_folders(root, cell):
        yield f"{folder}/session.json"
        yield from _named(root, folder, "replay-*.*.jsonl")
    if (root / cell.folder / "forced.json").is_file():
        yield f"{cell.folder}/forced.json"
        yield from _named(root, f"{cell.folder}/forced", "pass-*.*.jsonl")


def fed_folders(root: Path, grid: Grid, cell: GridCell) -> dict[str, GridCell]:
    """Where the passes of a cell over other cells' trajectories are, from the root, and whose trajectory each is."""
    known = {each.path: each for each in grid.cells}
    folders = {fed_folder(cell.folder, source): known[source] for source in grid.fed(cell)}
    return {folder: each for folder, each in folders.items() if (root / folder / "forced.json").is_file()}


def _named(root: Path, folder: str, pattern: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in (root / folder).glob(pattern)]

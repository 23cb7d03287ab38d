"""What is in an archive: the results that the grid's table follows from, and the code that judges them.

Weights are not: manifests name them by sha256. Logs are not: they may name the machine.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError
from scripts.common.files import read_json
from scripts.report.entries import CELL_KEYS, read_grid

GRID = "results/grid.json"
TABLES = ("results/table.md", "results/table.csv", "results/controls.json")
REPORT = "results/report.html"
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
    found = expected_files(root, read_grid(root / GRID), report=report)
    for name in found:
        if not (root / name).is_file():
            raise DataError("the file is missing", where=name, remedy="make it: snakemake --cores 1 archive")
    return found


def expected_files(root: Path, grid: dict[str, Any], *, report: bool = True) -> list[str]:
    """The files that the grid's results have, of cells those under `root`, sorted; they need not all be there."""
    cells = archived_cells(root, grid)
    found = [GRID, *TABLES, *(page_file(key) for key in ablation_keys(grid)), *([REPORT] if report else ())]
    for cell in cells:
        found += _cell_files(root, cell)
    found += [f"results/engines/{name}.json" for name in sorted({str(cell["engine"]) for cell in cells})]
    found += manifest_files(root, grid)
    return sorted(set(found))


def cell_folder(cell: dict[str, Any]) -> str:
    """The folder of a cell of grid.json, from the root."""
    return "/".join(["results/cells", *(str(cell[key]) for key in CELL_KEYS)])


def archived_cells(root: Path, grid: dict[str, Any]) -> list[dict[str, Any]]:
    """The grid's cells that are run; under `partial` those that have a cell.json."""
    return [
        cell
        for cell in grid["cells"]
        if cell.get("status", "run") != "planned"
        and (not grid.get("partial") or (root / cell_folder(cell) / "cell.json").is_file())
    ]


def ablation_keys(grid: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The deployments (model, precision, engine) that the grid has a page of ablations of."""
    keys = [(each["model"], each["precision"], each["engine"]) for each in grid.get("ablations", ())]
    return sorted(set(keys))


def page_file(key: tuple[str, str, str]) -> str:
    """The page of ablations of a deployment, from the root."""
    return f"results/ablation/{'-'.join(key)}.md"


def manifest_files(root: Path, grid: dict[str, Any]) -> list[str]:
    """The manifests of the quants that the cells run on, and of those that these were built from, sorted."""
    found: set[str] = set()
    waiting = [(str(cell["model"]), str(cell["precision"])) for cell in archived_cells(root, grid)]
    while waiting:
        model, precision = waiting.pop()
        name = f"results/quants/{model}/{precision}/manifest.json"
        if name in found:
            continue
        found.add(name)
        if (root / name).is_file():
            source = read_json(root / name).get("source", {})
            waiting += [(model, str(source["from"]))] if "from" in source else []
    return sorted(found)


def session_folders(root: Path, cell: dict[str, Any]) -> list[str]:
    """The folders of the sessions of a cell of grid.json, from the root, sorted.

    Of a cell with a question those that its answer took: an answer that came later may have left others.
    """
    folder = cell_folder(cell)
    found = sorted(
        path.relative_to(root).as_posix() for path in (root / folder).glob("session-*") if path.is_dir()
    )
    summary = root / folder / "cell.json"
    if cell.get("question") and summary.is_file():
        return found[: int(read_json(summary)["sessions"])]
    return found


def _cell_files(root: Path, planned: dict[str, Any]) -> Iterator[str]:
    cell = cell_folder(planned)
    yield f"{cell}/cell.json"
    for folder in session_folders(root, planned):
        yield f"{folder}/session.json"
        yield from _named(root, folder, "replay-*.*.jsonl")
    if (root / cell / "forced.json").is_file():
        yield f"{cell}/forced.json"
        yield from _named(root, f"{cell}/forced", "pass-*.*.jsonl")


def _named(root: Path, folder: str, pattern: str) -> list[str]:
    return [path.relative_to(root).as_posix() for path in (root / folder).glob(pattern)]

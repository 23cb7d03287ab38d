"""What a grid needs of this machine before any of it is worth beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from scripts.common.errors import EngineError
from scripts.grid.resolve import Cell
from scripts.records.engines import EngineEntry


def check_machine(
    root: Path,
    cells: Iterable[Cell],
    engines: Mapping[str, EngineEntry],
    gpus: Callable[[], list[str]],
) -> None:
    """EngineError where every cell whose sessions are still to be run wants more GPUs than `gpus` names.

    Else weights would be drawn, pulled and quantised for an engine that cannot start. Cells whose sessions are
    there, as in a folder that was copied from such a machine, want nothing.
    """
    waiting = {cell.engine for cell in cells if cell.planned is None and _waits(root, cell)}
    least = min((engines[name].gpus // engines[name].nodes for name in waiting), default=0)
    there = len(gpus()) if least else 0
    if there < least:
        some = "NVIDIA GPUs are" if least == 1 else f"{least} NVIDIA GPUs are"
        raise EngineError(
            f"{', '.join(sorted(waiting))}: {some} wanted, and nvidia-smi names {there or 'none'} here",
            remedy="--config grid=embedded needs none; -n in place of --cores says what this grid would do",
        )


def _waits(root: Path, cell: Cell) -> bool:
    if (root / cell.folder / "cell.json").is_file():
        return False
    needed = cell.session_files[:1] if cell.question else cell.session_files
    return any(not (root / file).is_file() for file in needed)

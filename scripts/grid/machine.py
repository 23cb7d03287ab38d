"""What a grid needs of this machine before any of it is worth beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from scripts.common.errors import DataError, EngineError
from scripts.grid.configuration import Configuration
from scripts.grid.resolve import Cell, built_from
from scripts.records.engines import EngineEntry
from scripts.workload.chat import ChatForm
from scripts.workload.episode import opening_prompt


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


def check_chat_forms(configuration: Configuration, cells: Iterable[Cell]) -> None:
    """Render what is asked first of every cell whose tokenizer lies here; DataError or ConfigError where that fails.

    Else weights would be drawn and quantised for what cannot be asked. Those of a hub are checked as they are pulled.
    """
    seen: set[tuple[Path, str]] = set()
    for cell in cells:
        folder = (
            None
            if cell.planned or not _waits(configuration.root, cell)
            else _chat_folder(configuration, cell)
        )
        if folder is None or (folder, cell.workload) in seen:
            continue
        seen.add((folder, cell.workload))
        chat, workload = ChatForm(folder), configuration.asked[cell.workload]
        for episode in workload.episodes if workload.requests else workload.episodes[:1]:
            try:
                opening_prompt(chat, workload, episode)
            except DataError as error:
                raise DataError(
                    f"{episode.name}: {error.what}", where=str(folder), remedy=error.remedy
                ) from error


def _chat_folder(configuration: Configuration, cell: Cell) -> Path | None:
    """The folder here with the tokenizer of a cell's model; None where it comes with the weights, or there is none."""
    root, config = configuration.root, configuration.config
    if configuration.engines[cell.engine].runtime == "external":
        return Path(config.tokenizer) if config.tokenizer else None
    entry = configuration.precision(*built_from(configuration, cell)[-1])
    given = entry.chat or entry.source
    homes = [root / given, (root / given).parent] if given else []
    return next((home for home in homes if (home / "tokenizer.json").is_file()), None)


def _waits(root: Path, cell: Cell) -> bool:
    if (root / cell.folder / "cell.json").is_file():
        return False
    needed = cell.session_files[:1] if cell.question else cell.session_files
    return any(not (root / file).is_file() for file in needed)

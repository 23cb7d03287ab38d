"""Rows of several archives in one table, each judged again from its own files, each with its source."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from scripts.archive.contents import GRID
from scripts.archive.pack import unpack
from scripts.archive.verify import verify_archive
from scripts.common.errors import DataError
from scripts.common.words import count
from scripts.records.grid import Grid
from scripts.records.session import SessionRecord
from scripts.report.entries import Entry, read_entries
from scripts.report.frames import finding
from scripts.report.markdown import markdown_table

SOURCE = "source"


@dataclass(frozen=True)
class Contribution:
    """What an archive brings. `sha256`: its own; `machines`: what its sessions ran on, each once."""

    path: Path
    sha256: str
    heading: str
    entries: list[Entry]
    machines: list[str]


def read_contribution(path: Path) -> Contribution:
    """An archive's rows, once everything in it agrees with its transcripts; DataError names what does not."""
    verified = verify_archive(path)
    if verified.disagreements:
        told = "\n  ".join(str(each) for each in verified.disagreements[:5])
        number = count(len(verified.disagreements), "disagreement")
        raise DataError(
            f"it does not follow from what was measured ({number}):\n  {told}",
            where=str(path),
            remedy="ask whoever made it for the file as it was written",
        )
    with tempfile.TemporaryDirectory(prefix="tempzero-join-") as name:
        root = Path(name)
        unpack(path, root)
        grid = Grid.read(root / GRID)
        entries = read_entries(grid, root / "results")
        sessions = [SessionRecord.read(file) for file in sorted(root.glob("results/cells/**/session.json"))]
    return Contribution(
        path, verified.sha256, grid.heading, entries, sorted({_machine(each) for each in sessions})
    )


def _machine(session: SessionRecord) -> str:
    machine = session.machine
    if machine is None:
        return "not recorded"
    gpus = ", ".join(f"{gpu.name}" for gpu in machine.gpus or [])
    return f"{gpus}, driver {machine.driver}" if gpus else str(machine.cpu)


def render_joined(contributions: Sequence[Contribution]) -> str:
    """The page: the finding's table of all archives, then what each source is."""
    frames = []
    for number, each in enumerate(contributions, start=1):
        frame = finding(each.entries)
        if "engine" not in frame.columns:
            frame.insert(2, "engine", [entry.planned.engine for entry in each.entries])
        frame.insert(0, SOURCE, str(number))
        frames.append(frame)
    sources = [
        f"{number}. `{each.path.name}`, sha256 {each.sha256}: {count(len(each.entries), 'row')}, on"
        f" {'; '.join(each.machines) or 'nothing'}. {each.heading}"
        for number, each in enumerate(contributions, start=1)
    ]
    parts = [
        "# The same bytes twice at temperature 0?",
        f"Joined from {count(len(contributions), 'archive')}. Every verdict was made again from the transcripts,"
        " logprobs and forced passes in its archive (`python -m scripts.verify_archive` does the same). Rows of two"
        " sources are of two machines: what differs between them is not only what the row names.",
        markdown_table(pd.concat(frames, ignore_index=True)),
        "## Sources",
        "\n".join(sources),
    ]
    return "\n\n".join(parts) + "\n"

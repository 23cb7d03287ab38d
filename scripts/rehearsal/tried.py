"""Which cells of a grid were rehearsed, for its heading."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from scripts.records.rehearsal import Rehearsal

RESULTS = Path("results/rehearsal")
TRIED = ("starts", "refused")


def never_rehearsed(root: Path, grid: str, paths: Iterable[str]) -> list[str]:
    """Of these cells of a grid those that neither started in a rehearsal, on their own engines, nor were refused."""
    record = root / RESULTS / f"{grid}.json"
    cells = Rehearsal.read(record).cells if record.is_file() else []
    done = {each.path for each in cells if each.outcome in TRIED and each.started_as is None}
    return [path for path in paths if path not in done]

"""How far a grid is: what its folders show, and what is left of it by the time that was needed so far."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from scripts.grid.resolve import Cell

_SESSION = re.compile(r"\.session-(\d+)\.partial")
_PASS = re.compile(r"pass-(\d+)\.(\w+)\.jsonl")


class Plan(msgspec.Struct, frozen=True):
    """One cell that is run: its folder from the root, its sessions, replays, passes, seconds a session (estimated).

    `most`: whether the sessions are the most that may be needed.
    """

    folder: str
    sessions: int
    replays: int
    forced: int
    session_seconds: float
    forced_seconds: float
    most: bool = False

    def jobs(self) -> Iterator[tuple[str, float]]:
        """The record of each session and of the forced replay, with the seconds that it is expected to take."""
        for number in range(self.sessions):
            yield f"{self.folder}/session-{number:02d}/session.json", self.session_seconds
        if self.forced:
            yield f"{self.folder}/forced.json", self.forced_seconds


def plans_of(cells: Iterable[Cell]) -> list[Plan]:
    """The plans of the cells that are run."""
    return [
        Plan(
            folder=cell.folder,
            sessions=cell.sessions,
            replays=cell.replays,
            forced=max(cell.forced.by_mode.values()),
            session_seconds=cell.seconds / cell.sessions,
            forced_seconds=cell.estimate.start_seconds
            + sum(cell.forced.by_mode.values())
            * cell.estimate.tokens_per_replay
            / cell.estimate.tokens_per_second,
            most=cell.question is not None,
        )
        for cell in cells
        if cell.planned is None
    ]


@dataclass(frozen=True)
class Running:
    """A session or forced replay that runs now. `share`: how much of it is done, from 0 to 1."""

    text: str
    seconds: float
    share: float


def find_running(root: Path, plans: Sequence[Plan], since: float) -> list[Running]:
    """What runs now, by the folders that sessions and forced replays write aside; only those made after `since`."""
    found = []
    for plan in plans:
        for folder in sorted((root / plan.folder).glob(".*.partial")):
            try:
                if folder.stat().st_mtime < since:
                    continue
                names = [path.name for path in (folder, *folder.iterdir(), *(folder / "forced").glob("*"))]
            except OSError:
                continue  # it has just been renamed
            found.append(_running(plan, names))
    return found


def _running(plan: Plan, names: Sequence[str]) -> Running:
    cell = plan.folder.removeprefix("results/cells/").replace("/", " ")
    if match := _SESSION.fullmatch(names[0]):
        begun = sum(name.endswith(".transcript.jsonl") for name in names)
        where = f"replay {begun} of {plan.replays}" if begun else "the engine starts"
        count = f"{'at most ' if plan.most else ''}{plan.sessions}"
        text = f"{cell} · session {int(match[1]) + 1} of {count} · {where}"
        return Running(text, plan.session_seconds, max(0, begun - 1) / plan.replays)
    passes = sorted(match.groups() for name in names if (match := _PASS.fullmatch(name)))
    begun = int(passes[-1][0]) + 1 if passes else 0
    where = f"pass {begun} of {plan.forced}" if begun else "the engine starts"
    return Running(f"{cell} · forced · {where}", plan.forced_seconds, max(0, begun - 1) / max(1, plan.forced))


@dataclass(frozen=True)
class Left:
    """Sessions and forced replays of this command: all, those done, and the seconds that the rest will take.

    `seconds` is None where there is nothing to tell it from; `measured`: it follows from what was done so far.
    """

    total: int
    done: int
    seconds: float | None
    measured: bool


class Work:
    """What a command has to do. The records that are missing at first, and how long these and the rest should take."""

    def __init__(self, root: Path, plans: Sequence[Plan], since: float) -> None:
        self._root, self._since = root, since
        self._jobs = dict(job for plan in plans for job in plan.jobs())
        self._missing = {record for record in self._jobs if not (root / record).is_file()}
        self._first: float | None = None

    def left(self, now: float, total: int, running: Sequence[Running]) -> Left:
        """What is left of `total` sessions and forced replays (as Snakemake counts them) at the time `now`.

        The rest takes as long for each expected second as what was done since the first of them began. Where the
        command does not run just what is missing, each of them is expected to take the mean.
        """
        if running and self._first is None:
            self._first = now
        done = [record for record in self._jobs if self._is_new(record)]
        if total == len(self._missing):
            work = sum(self._jobs[record] for record in self._missing)
        else:
            work = total * sum(self._jobs.values()) / max(1, len(self._jobs))
        achieved = sum(self._jobs[record] for record in done)
        achieved += sum(each.share * each.seconds for each in running)
        rest, spent = max(0.0, work - achieved), now - (now if self._first is None else self._first)
        measured = bool(done) and achieved > 0 and spent > 0
        if measured:
            rest *= spent / achieved
        return Left(total, len(done), rest if total else None, measured)

    def _is_new(self, record: str) -> bool:
        try:
            return (self._root / record).stat().st_mtime >= self._since
        except OSError:
            return False

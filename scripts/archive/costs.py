"""What a grid cost: GPU-minutes of its sessions and forced replays, and positions compared in a second."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from scripts.records.forced import MODES, Forced, ModeSummary
from scripts.records.grid import Grid
from scripts.records.session import SessionRecord


def describe_costs(root: Path, grid: Grid) -> str:
    """One line on the records under `root`: what their engines' starts, replays and passes took, as far as they say.

    Sessions that shared a card count for it each, and once together where all name their cards. Forced passes are held
    against the free replays of the same cells.
    """
    sessions = list(_sessions(root, grid))
    minutes = [_gpu_minutes(each) for each in sessions]
    known = [each for each in minutes if each is not None]
    shared = _card_minutes(sessions)
    parts = [
        f"{sum(known):,.0f} GPU-minutes in {len(known)} of {len(sessions)} sessions, starts included"
        + ("" if shared is None else f" ({shared:,.0f} of the cards that they shared)")
    ]
    forced = {
        cell.folder: Forced.read(path)
        for cell in grid.cells
        if (path := root / cell.folder / "forced.json").is_file()
    }
    timed = {
        folder: each for folder, each in forced.items() if each.seconds and each.wall_seconds is not None
    }
    taken = sum((each.wall_seconds or 0) * (each.gpus or 0) for each in timed.values()) / 60
    if forced:
        parts.append(
            f"{taken:,.0f} in {len(timed)} of {len(forced)} forced replays"
            if timed
            else "forced replays untimed"
        )
    parts += _speeds(root, timed)
    return "; ".join(parts)


def _sessions(root: Path, grid: Grid) -> Iterator[SessionRecord]:
    for cell in grid.cells:
        for file in sorted((root / cell.folder).glob("session-*/session.json")):
            yield SessionRecord.read(file)


def _gpu_minutes(session: SessionRecord) -> float | None:
    """From its start to its end times its GPUs; None where it does not say."""
    if session.elapsed_seconds is None or session.settings is None:
        return None
    return session.elapsed_seconds / 60 * session.settings.gpus


def _card_minutes(sessions: list[SessionRecord]) -> float | None:
    """Minutes in which a card had a session, summed over the cards; None where one does not say which cards or when."""
    held: dict[str, list[tuple[datetime, datetime]]] = {}
    for session in sessions:
        cards = [card.uuid for card in (session.machine and session.machine.gpus) or [] if card.uuid]
        if session.settings is None or session.span is None or len(cards) < session.settings.gpus:
            return None
        for card in cards[: session.settings.gpus]:
            held.setdefault(card, []).append(session.span)
    seconds = 0.0
    for spans in held.values():
        free = min(spans)[0]
        for begin, end in sorted(spans):
            seconds += max(0.0, (end - max(begin, free)).total_seconds())
            free = max(free, end)
    return seconds / 60 if held else None


def _speeds(root: Path, timed: dict[str, Forced]) -> Iterator[str]:
    """By mode, positions a second of the forced passes beside tokens a second of the same cells' free replays."""
    for mode in MODES:
        positions = seconds = tokens = free = 0.0
        for folder, found in timed.items():
            summary = getattr(found.modes, mode)
            if not isinstance(summary, ModeSummary) or not found.seconds or mode not in found.seconds:
                continue
            replayed = [SessionRecord.read(file) for file in (root / folder).glob("session-*/session.json")]
            positions, seconds = positions + summary.positions * summary.passes, seconds + found.seconds[mode]
            tokens += sum(each.tokens for each in replayed)
            free += sum(each.seconds for each in replayed)
        if seconds and free and tokens:
            forced, said = positions / seconds, tokens / free
            yield (
                f"forced {mode} compared {forced:,.0f} positions a second, free replays {said:,.0f}: "
                f"{forced / said:.1f} times"
            )

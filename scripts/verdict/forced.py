"""Forced passes: one recorded trajectory fed back several times, and what differed between the passes.

A pass is a file of its own, `{cell}/forced/pass-00.{mode}.jsonl`, one line a turn (records/forced.py). Modes are never
compared with one another: their argmax differ by construction.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.records.figures import NoiseSpread
from scripts.records.forced import (
    MODES,
    CellForced,
    Forced,
    MarginQuantiles,
    Mode,
    ModeNotRun,
    Modes,
    ModeSummary,
    PassTurn,
    Trajectory,
)
from scripts.verdict.quantiles import Quantiles
from scripts.verdict.routing import (
    Routing,
    TurnRouting,
    as_digests,
    join_routing,
    parse_routing,
    routing_summary,
)
from scripts.verdict.shares import share

COLUMNS = ("digests", "margins", "argmax", "chosen")
AGAIN = PassTurn.REMEDY
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Passes:
    """All passes of one mode. Arrays are passes × positions; `turns`: (scenario, turn, ids) in order.

    `routing`: the experts of every pass, None where they were not recorded.
    """

    turns: list[tuple[str, int, int]]
    digests: NDArray[np.uint64]
    margins: Floats
    argmax: Ints
    chosen: Floats
    routing: Routing | None = None

    @property
    def passes(self) -> int:
        """How many passes there are."""
        return int(self.margins.shape[0])

    @property
    def positions(self) -> int:
        """How many ids were forced in each pass."""
        return int(self.margins.shape[1])

    def signed_margins(self) -> Floats:
        """Margins of the id that is best in most passes: negative where another one was best.

        Of several that are best equally often the one that was so first.
        """
        rows = [self.argmax == row for row in self.argmax]
        votes = np.array([row.sum(axis=0) for row in rows])
        usual = np.take_along_axis(self.argmax, votes.argmax(axis=0)[None, :], axis=0)
        return np.where(self.argmax == usual, self.margins, -self.margins)


def pass_file(number: int, mode: Mode) -> str:
    """The name of a pass's file."""
    return f"pass-{number:02d}.{mode}.jsonl"


def read_passes(cell: Path, mode: Mode) -> Passes | None:
    """All passes of a mode, None where there is none; DataError names a file that is torn or does not fit."""
    found = sorted(
        (int(match.group(1)), path)
        for path in (cell / "forced").glob(f"pass-*.{mode}.jsonl")
        if (match := re.fullmatch(r"pass-(\d+)", path.name.split(".")[0]))
    )
    if not found:
        return None
    for expected, (number, path) in enumerate(found):
        if number != expected:
            raise DataError(f"pass {expected} is missing", where=str(path.parent), remedy=AGAIN)
    read = [_read_pass(path) for _, path in found]
    turns = read[0].turns
    for (_, path), each in zip(found, read, strict=True):
        if each.turns != turns:
            raise DataError("the turns or lengths are not those of pass 0", where=str(path), remedy=AGAIN)
    columns = {name: np.stack([each.columns[name] for each in read]) for name in COLUMNS}
    try:
        routing = join_routing(turns, [(each.columns["digests"], each.routing) for each in read])
    except ValueError as error:
        raise DataError(
            f"the passes do not fit ({error})", where=str(cell / "forced"), remedy=AGAIN
        ) from error
    return Passes(turns, **columns, routing=routing)


@dataclass(frozen=True)
class _Pass:
    turns: list[tuple[str, int, int]]
    columns: dict[str, NDArray[Any]]
    routing: list[TurnRouting | None]


def _read_pass(path: Path) -> _Pass:
    turns: list[tuple[str, int, int]] = []
    parts: dict[str, list[NDArray[Any]]] = {name: [] for name in COLUMNS}
    routing: list[TurnRouting | None] = []
    for number, line in enumerate(PassTurn.read_lines(path), start=1):
        try:
            columns = _columns(line)
            routing.append(parse_routing(line))
        except (ValueError, OverflowError) as error:
            raise DataError(
                f"the line is no turn of a forced pass ({error})", where=f"{path}:{number}", remedy=AGAIN
            ) from error
        turns.append((line.scenario, line.turn, len(line.digests)))
        for name, column in columns.items():
            parts[name].append(column)
    return _Pass(turns, {name: np.concatenate(pieces) for name, pieces in parts.items()}, routing)


def _columns(line: PassTurn) -> dict[str, NDArray[Any]]:
    if not len(line.digests) == len(line.margins) == len(line.argmax) == len(line.chosen):
        raise ValueError("its lists are not of one length")
    if line.margins and min(line.margins) < 0:
        raise ValueError("a margin is negative")
    return {
        "digests": as_digests(line.digests),
        "margins": np.array(line.margins, dtype=np.float64),
        "argmax": np.array(line.argmax, dtype=np.int64),
        "chosen": np.array(line.chosen, dtype=np.float64),
    }


def mode_summary(passes: Passes) -> ModeSummary | ModeNotRun:
    """What differed between the passes of one mode."""
    if passes.passes < 2:
        return ModeNotRun(not_run="there is one pass only, with nothing to compare it with")
    signed = passes.signed_margins()
    mean = np.abs(signed.mean(axis=0))
    chosen, margin = Quantiles(), Quantiles()
    for one, other in itertools.combinations(range(passes.passes), 2):
        chosen.add(np.abs(passes.chosen[one] - passes.chosen[other]))
        margin.add(np.abs(signed[one] - signed[other]))
    found_margin = margin.summary()
    named = passes.routing
    p0_1, p1, p10, p50 = (
        float(np.quantile(mean, level)) if mean.size else None for level in (0.001, 0.01, 0.1, 0.5)
    )
    return ModeSummary(
        passes=passes.passes,
        positions=passes.positions,
        unequal_bits=share((passes.digests != passes.digests[0]).any(axis=0)),
        other_argmax=share((passes.argmax != passes.argmax[0]).any(axis=0)),
        noise=NoiseSpread(chosen=chosen.summary(), margin=found_margin),
        exact_ties=int((passes.margins == 0).any(axis=0).sum()),
        under_noise=share(mean < (found_margin.p99 if found_margin else 0.0)),
        margins=MarginQuantiles(p0_1=p0_1, p1=p1, p10=p10, p50=p50),
        routing=None if named is None else routing_summary(passes.digests, named),
    )


def check_turns(passes: Passes, turns: Sequence[tuple[str, int, int]], where: str) -> None:
    """Refuse (DataError) passes that are not of the trajectory with those (scenario, turn, ids)."""
    if passes.turns != list(turns):
        raise DataError("the forced passes are of another trajectory than this", where=where, remedy=AGAIN)


def summarise_forced(
    cell: Path,
    *,
    session: int = 0,
    replay: int = 0,
    scenarios: Sequence[str],
    not_run: Mapping[Mode, str] | None = None,
) -> Forced:
    """Each mode's summary, or the reason why it was not run.

    `session`, `replay`: whose transcript was fed back. `not_run`: by mode, where the engine cannot.
    """
    found: dict[Mode, ModeSummary | ModeNotRun] = {}
    for mode in MODES:
        passes = read_passes(cell, mode)
        reason = (not_run or {}).get(mode, "no pass of this mode is there")
        found[mode] = ModeNotRun(not_run=reason) if passes is None else mode_summary(passes)
    return Forced(
        passes=max((each.passes for each in found.values() if isinstance(each, ModeSummary)), default=0),
        trajectory=Trajectory(session=session, replay=replay, scenarios=list(scenarios)),
        modes=Modes(prefill=found["prefill"], decode=found["decode"]),
    )


def deterministic(
    *, replays: int, text_identical: int, bits_identical: int | None, forced: CellForced | None
) -> bool | None:
    """Whether the cell is deterministic as far as was looked.

    True only where two or more free replays are equal in bits and at least one mode was forced and no
    position differed in any; False where anything differed; None where too little was looked at.
    """
    run = forced.run().values() if forced else ()
    if text_identical < replays or (bits_identical is not None and bits_identical < replays):
        return False
    if any(each.unequal_bits.positions for each in run):
        return False
    if replays >= 2 and bits_identical == replays and run:
        return True
    return None

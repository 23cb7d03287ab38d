"""Forced passes: one recorded trajectory fed back several times, and what differed between the passes.

A pass is a file of its own, `{cell}/forced/pass-00.{mode}.jsonl`, one canonical JSON line a turn: `scenario`,
`turn`, and for each generated id of the trajectory `digests` (16 hexadecimal digits of all that was returned
of its distribution), `margins` (best minus second, nat), `argmax` (the best id), `chosen` (logprob of the id
that was forced, nat). Where the engine named the experts that it chose, the line has two keys more, which
routing.py describes. Modes are never compared with one another: their argmax differ by construction.
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from scripts.common.errors import DataError
from scripts.common.files import canonical_json
from scripts.verdict.quantiles import Quantiles
from scripts.verdict.routing import (
    ROUTING_KEYS,
    Read,
    Routing,
    TurnRouting,
    as_digests,
    join_routing,
    parse_routing,
    routing_summary,
)
from scripts.verdict.shares import share

Mode = Literal["prefill", "decode"]
MODES: tuple[Mode, ...] = ("prefill", "decode")
COLUMNS = ("digests", "margins", "argmax", "chosen")
KEYS = (*COLUMNS, "scenario", "turn")
AGAIN = "force the cell again: snakemake -R force_cell -- results/table.md"
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


def pass_line(
    scenario: str,
    turn: int,
    *,
    digests: list[str],
    margins: list[float],
    argmax: list[int],
    chosen: list[float],
    routing: list[str] | None = None,
    read: Read | None = None,
) -> str:
    """The line of one turn in a pass file, newline included; `routing` and `read` as in routing.py, both or none."""
    values: dict[str, Any] = {"digests": digests, "margins": margins, "argmax": argmax, "chosen": chosen}
    if routing is not None and read is not None:
        values |= {"routing": routing, "read": vars(read)}
    return canonical_json({"scenario": scenario, "turn": turn, **values}) + "\n"


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
    with open(path, encoding="utf-8", newline="\n") as stream:
        for number, line in enumerate(stream, start=1):
            where = f"{path}:{number}"
            if not line.endswith("\n"):
                raise DataError("the file is torn: its last line has no end", where=where, remedy=AGAIN)
            try:
                turn, columns, of_turn = _parse(line)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise DataError(
                    f"the line is no turn of a forced pass ({error})", where=where, remedy=AGAIN
                ) from error
            turns.append(turn)
            routing.append(of_turn)
            for name, column in columns.items():
                parts[name].append(column)
    if not turns:
        raise DataError("the file is empty", where=str(path), remedy=AGAIN)
    return _Pass(turns, {name: np.concatenate(pieces) for name, pieces in parts.items()}, routing)


def _parse(line: str) -> tuple[tuple[str, int, int], dict[str, NDArray[Any]], TurnRouting | None]:
    value = json.loads(line)
    if not isinstance(value, dict) or set(value) not in (set(KEYS), {*KEYS, *ROUTING_KEYS}):
        raise ValueError(f"its keys are not {', '.join(sorted(KEYS))}")
    columns: dict[str, NDArray[Any]] = {
        "digests": as_digests(value["digests"]),
        "margins": np.array(value["margins"], dtype=np.float64),
        "argmax": np.array(value["argmax"], dtype=np.int64),
        "chosen": np.array(value["chosen"], dtype=np.float64),
    }
    ids = len(columns["digests"])
    if {column.shape for column in columns.values()} != {(ids,)}:
        raise ValueError("its lists are not of one length")
    margins, chosen = columns["margins"], columns["chosen"]
    if not (np.isfinite(margins).all() and np.isfinite(chosen).all()) or (margins < 0).any():
        raise ValueError("a margin or logprob is not finite, or a margin is negative")
    return (str(value["scenario"]), int(value["turn"]), ids), columns, parse_routing(value, ids)


def mode_summary(passes: Passes) -> dict[str, Any]:
    """What differed between the passes of one mode.

    `unequal_bits`, `other_argmax`: positions at which not all passes agree, and their share. `noise`: over
    all pairs of passes and positions, |Δ logprob of the forced id| and |Δ margin|, nat (where another id
    was best the margin counts as negative). `margins`: quantiles of the mean margin over positions.
    `under_noise`: share of positions whose mean margin is below the p99 of the margin's noise. `routing`, only
    where experts were recorded: routing.routing_summary.
    """
    if passes.passes < 2:
        return {"not_run": "there is one pass only, with nothing to compare it with"}
    signed = passes.signed_margins()
    mean = np.abs(signed.mean(axis=0))
    chosen, margin = Quantiles(), Quantiles()
    for one, other in itertools.combinations(range(passes.passes), 2):
        chosen.add(np.abs(passes.chosen[one] - passes.chosen[other]))
        margin.add(np.abs(signed[one] - signed[other]))
    found_margin = margin.summary()
    p99 = found_margin["p99"] if found_margin else 0.0
    named = passes.routing
    routing = {} if named is None else {"routing": routing_summary(passes.digests, named)}
    return {
        "passes": passes.passes,
        "positions": passes.positions,
        "unequal_bits": share((passes.digests != passes.digests[0]).any(axis=0)),
        "other_argmax": share((passes.argmax != passes.argmax[0]).any(axis=0)),
        "noise": {"chosen": chosen.summary(), "margin": found_margin},
        "exact_ties": int((passes.margins == 0).any(axis=0).sum()),
        "under_noise": share(mean < p99),
        "margins": {
            name: float(np.quantile(mean, level)) if mean.size else None
            for name, level in (("p0.1", 0.001), ("p1", 0.01), ("p10", 0.1), ("p50", 0.5))
        },
        **routing,
    }


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
) -> dict[str, Any]:
    """The content of forced.json: each mode's summary, or the reason why it was not run.

    `session`, `replay`: whose transcript was fed back. `not_run`: by mode, where the engine cannot.
    """
    modes: dict[str, Any] = {}
    for mode in MODES:
        passes = read_passes(cell, mode)
        if passes is not None:
            modes[mode] = mode_summary(passes)
        else:
            modes[mode] = {"not_run": (not_run or {}).get(mode, "no pass of this mode is there")}
    return {
        "passes": max((each.get("passes", 0) for each in modes.values()), default=0),
        "trajectory": {"session": session, "replay": replay, "scenarios": list(scenarios)},
        "modes": modes,
    }


def short(forced: Mapping[str, Any]) -> dict[str, Any]:
    """What cell.json keeps of forced.json: by mode the counts and p99s, or why it was not run."""
    found: dict[str, Any] = {}
    for mode, summary in forced["modes"].items():
        if "not_run" in summary:
            found[mode] = {"not_run": summary["not_run"]}
            continue
        found[mode] = {
            "passes": summary["passes"],
            "positions": summary["positions"],
            "unequal_bits": summary["unequal_bits"],
            "other_argmax": summary["other_argmax"],
            "under_noise": summary["under_noise"],
            "noise_p99": {name: (summary["noise"][name] or {}).get("p99") for name in ("chosen", "margin")},
            **({"routing": summary["routing"]} if "routing" in summary else {}),
        }
    return found


def modes_run(forced: Mapping[str, Mapping[str, Any]] | None) -> dict[str, dict[str, Any]]:
    """By mode what was forced, of cell.json's `forced`; a mode that was not run is left out."""
    return {mode: dict(each) for mode, each in (forced or {}).items() if "not_run" not in each}


def deterministic(
    *, replays: int, text_identical: int, bits_identical: int | None, forced: Mapping[str, Any] | None
) -> bool | None:
    """Whether the cell is deterministic as far as was looked; `forced` as `short` gives it.

    True only where two or more free replays are equal in bits and at least one mode was forced and no
    position differed in any; False where anything differed; None where too little was looked at.
    """
    run = modes_run(forced).values()
    if text_identical < replays or (bits_identical is not None and bits_identical < replays):
        return False
    if any(each["unequal_bits"]["positions"] for each in run):
        return False
    if replays >= 2 and bits_identical == replays and run:
        return True
    return None

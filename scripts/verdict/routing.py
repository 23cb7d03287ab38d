"""Forced passes of a Mixture-of-Experts model: whether the experts that were chosen differed before the logits did.

Where an engine names the experts, a pass file's line has two keys more (records/forced.py): digests over the experts
that the layers chose in the step that computed each generated id's distribution, and what was read before.

A step's experts are chosen before its logits are there. Along an episode each later pass is compared with the first
one, step by step, up to the first step in which anything differs, and that is counted once:

- `logits`: they differ, and every expert up to and with that step is the same: routing is not the cause;
- `same_step`: experts and logits differ in one step;
- `experts`: experts differ in a step whose logits are the same;
- `prompt`: experts differ in what was read, whose logits were not looked at, so the order is not known;
- `neither`: nothing differs in the whole episode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scripts.records.forced import FirstDiffering, PassTurn, RoutingFound
from scripts.verdict.shares import share

Digests = NDArray[np.uint64]


@dataclass(frozen=True)
class TurnRouting:
    """The experts of one turn in one pass, and the logits of all its steps where they are known."""

    generated: Digests
    read: Digests
    read_logits: Digests

    def steps(self, logits: Digests) -> tuple[Digests, Digests, NDArray[np.bool_]]:
        """Logits, experts, and whether the logits are known, step by step; `logits`: of the generated ids."""
        seen = len(self.read_logits) > 0
        read = self.read_logits if seen else np.zeros_like(self.read)
        known = np.concatenate([np.full(len(self.read), seen), np.ones(len(logits), dtype=np.bool_)])
        return np.concatenate([read, logits]), np.concatenate([self.read, self.generated]), known


@dataclass(frozen=True)
class Steps:
    """One episode. `logits`, `experts`: passes × steps; `known`: in which steps the logits are."""

    logits: Digests
    experts: Digests
    known: NDArray[np.bool_]

    def first(self) -> Counter[str]:
        """What differed first from pass 0, counted over the other passes."""
        logits = (self.logits != self.logits[0]) & self.known
        experts = self.experts != self.experts[0]
        found: Counter[str] = Counter()
        for one, other in zip(logits[1:], experts[1:], strict=True):
            where = np.flatnonzero(one | other)
            found[self._name(where[0], one, other) if len(where) else "neither"] += 1
        return found

    def _name(self, step: int, logits: NDArray[np.bool_], experts: NDArray[np.bool_]) -> str:
        if not experts[step]:
            return "logits"
        if not self.known[step]:
            return "prompt"
        return "same_step" if logits[step] else "experts"


@dataclass(frozen=True)
class Routing:
    """The experts of all passes of one mode. `generated`: passes × generated ids; `episodes`: all their steps."""

    generated: Digests
    episodes: list[Steps]


def as_digests(texts: Sequence[str]) -> Digests:
    """Digests of 16 hexadecimal digits as numbers; ValueError for others."""
    if any(len(each) != 16 for each in texts):
        raise ValueError("a digest has not 16 digits")
    return np.array([int(each, 16) for each in texts], dtype=np.uint64)


def parse_routing(line: PassTurn) -> TurnRouting | None:
    """What a pass file's line says of experts, None where it says nothing; ValueError where it does not fit its ids."""
    if line.routing is None and line.read is None:
        return None
    if line.routing is None or line.read is None:
        raise ValueError("of routing and read it has one only")
    generated = as_digests(line.routing)
    read, logits = as_digests(line.read.routing), as_digests(line.read.digests)
    if len(generated) != len(line.digests) or len(logits) not in (0, len(read)):
        raise ValueError("its experts are not of as many ids as its digests")
    return TurnRouting(generated, read, logits)


def join_routing(
    turns: Sequence[tuple[str, int, int]], passes: Sequence[tuple[Digests, Sequence[TurnRouting | None]]]
) -> Routing | None:
    """The experts of all passes, None where none has any.

    `passes`: for each the digests of all its generated ids, and the experts of its `turns` (scenario, turn, ids).
    ValueError where some have experts and others not, or theirs are of other steps.
    """
    found = [each for _, routing in passes for each in routing]
    if all(each is None for each in found):
        return None
    rows: list[list[tuple[Digests, Digests, NDArray[np.bool_]]]] = []
    generated: list[Digests] = []
    cuts = np.cumsum([ids for _, _, ids in turns])[:-1]
    for digests, routing in passes:
        whole = [each for each in routing if each is not None]
        if len(whole) != len(turns):
            raise ValueError("some turns have experts and others not")
        parts = np.split(digests, cuts)
        rows.append([each.steps(part) for each, part in zip(whole, parts, strict=True)])
        generated.append(np.concatenate([each.generated for each in whole]))
    episodes = []
    for scenario in dict.fromkeys(name for name, _, _ in turns):
        members = [index for index, turn in enumerate(turns) if turn[0] == scenario]
        columns = [
            [np.concatenate([row[index][column] for index in members]) for row in rows] for column in range(3)
        ]
        if any(not np.array_equal(known, columns[2][0]) for known in columns[2]):
            raise ValueError("its experts are of other steps than those of pass 0")
        episodes.append(Steps(np.stack(columns[0]), np.stack(columns[1]), columns[2][0]))
    return Routing(np.stack(generated), episodes)


def routing_summary(digests: Digests, routing: Routing) -> RoutingFound:
    """What differed in the experts of one mode; `digests`: passes × generated ids, of the logits."""
    other = (routing.generated != routing.generated[0]).any(axis=0)
    unequal = (digests != digests[0]).any(axis=0)
    counts: Counter[str] = sum((each.first() for each in routing.episodes), Counter())
    return RoutingFound(
        other_experts=share(other),
        unequal_bits_same_experts=share(unequal & ~other),
        first=FirstDiffering(
            comparisons=counts.total(),
            logits=counts["logits"],
            same_step=counts["same_step"],
            experts=counts["experts"],
            prompt=counts["prompt"],
            neither=counts["neither"],
        ),
    )


def in_words(found: RoutingFound) -> str:
    """What differed first, as the end of a sentence: `logits in 3 of 4 comparisons, …`."""
    first = found.first
    counts = (
        (first.logits, "the logits, with every expert so far the same,"),
        (first.same_step, "experts and logits in one step"),
        (first.experts, "experts, in a step whose logits were equal,"),
        (first.prompt, "experts in a prompt, whose logits were not looked at,"),
        (first.neither, "nothing"),
    )
    return ", ".join(f"{words} in {count:,}" for count, words in counts if count)

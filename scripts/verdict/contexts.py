"""The tree of contexts that the replays of a cell walked in one scenario.

The tree is kept as runs: a run is the tail of a path that one replay was the first to walk, from the symbol
with which it left an older run. Replays are inserted one after the other; each is compared once with what
is there, so time and memory grow with the symbols, not with the pairs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from scripts.verdict.streams import Ints


@dataclass(eq=False)
class Run:
    """A path's tail, owned by the replay that walked it first.

    `owner`: the caller's number of the trajectory. `start`: index of its first symbol in the trajectory.
    `replays`: how many walked past its start. `shared`: index up to which anybody else compared with it,
    the symbol at which they parted included. `branches`: runs that leave it, by index, then by symbol.
    """

    owner: int
    start: int
    symbols: Ints
    replays: int
    shared: int = 0
    branches: dict[int, dict[int, Run]] = field(default_factory=dict)

    def symbol(self, index: int) -> int:
        """The symbol at an index of the trajectory."""
        return int(self.symbols[index - self.start])

    def tokens(self, start: int, stop: int) -> int:
        """Generated ids among the symbols from start to stop (exclusive)."""
        return int(np.count_nonzero(self.symbols[start - self.start : stop - self.start] >= 0))

    def forks(self) -> list[Fork]:
        """Where replays parted on this run, in order."""
        found, here = [], self.replays
        # A branch's first symbol was counted where it left; the first run begins with a prompt.
        at = self.start + 1
        for index in sorted(self.branches):
            leaving = {symbol: branch.replays for symbol, branch in self.branches[index].items()}
            staying = here - sum(leaving.values())
            groups = {self.symbol(index): staying, **leaving}
            found.append(Fork(index, self.tokens(at, index), here, groups))
            here, at = staying, index + 1
        return found

    def rest(self, last: Fork | None) -> tuple[int, int]:
        """After the last fork: the generated ids, and how many replays share their contexts."""
        at, here = self.start + 1, self.replays
        if last is not None:
            at, here = last.index + 1, last.groups[self.symbol(last.index)]
        return self.tokens(at, self.start + len(self.symbols)), here


@dataclass(frozen=True)
class Fork:
    """A context at which replays parted.

    `index`: that of the next symbol. `tokens`: generated ids on the run since the fork before, all replays
    agreeing on them. `replays`: how many share the context. `groups`: how many took each next symbol.
    """

    index: int
    tokens: int
    replays: int
    groups: dict[int, int]

    @property
    def counted(self) -> bool:
        """Whether somebody generated an id here; else prompts differ, or one replay was over."""
        return max(self.groups) >= 0

    @property
    def events(self) -> int:
        """n minus the largest agreeing group."""
        return self.replays - max(self.groups.values()) if self.counted else 0

    def share(self, symbol: int) -> float:
        """The events of one replay that took `symbol`: 1 off the largest group, 0 in it.

        Of several groups that are largest together each is the largest as much as another.
        """
        if not self.counted:
            return 0.0
        largest = max(self.groups.values())
        if self.groups[symbol] < largest:
            return 1.0
        ties = sum(size == largest for size in self.groups.values())
        return (ties - 1) / ties


@dataclass(frozen=True)
class Segment:
    """A stretch on which a trajectory walked along a run: symbols start to stop (exclusive) are equal.

    `flipped`: at `stop` both generated an id, and not the same one.
    """

    run: Run
    start: int
    stop: int
    flipped: bool


@dataclass(frozen=True)
class Path:
    """A trajectory's way through the tree: along older runs, then (perhaps) along its own."""

    segments: list[Segment]
    own: Run | None


def common_prefix(one: Ints, other: Ints) -> int:
    """How many symbols agree from the start on; looks no further than twice the answer."""
    length, start, step = min(len(one), len(other)), 0, 256
    while start < length:
        stop = min(start + step, length)
        unequal = one[start:stop] != other[start:stop]
        if unequal.any():
            return start + int(unequal.argmax())
        start, step = stop, step * 2
    return length


class ContextTree:
    """The contexts of one scenario, with how many replays walked through each."""

    def __init__(self) -> None:
        self.runs: list[Run] = []

    def insert(self, symbols: Ints, replays: int, owner: int) -> Path:
        """Add a trajectory that `replays` replays walked; the first inserted owns the first run."""
        if not self.runs:
            return Path([], self._grow(symbols, 0, replays, owner))
        segments: list[Segment] = []
        run, at = self.runs[0], 0
        while True:
            run.replays += replays
            stop = at + common_prefix(run.symbols[at - run.start :], symbols[at:])
            parted = stop < len(symbols)
            flipped = parted and min(int(symbols[stop]), run.symbol(stop)) >= 0
            segments.append(Segment(run, at, stop, flipped))
            run.shared = max(run.shared, stop + parted)
            if not parted:
                return Path(segments, None)
            leaving = run.branches.setdefault(stop, {})
            symbol = int(symbols[stop])
            if symbol not in leaving:
                leaving[symbol] = self._grow(symbols, stop, replays, owner)
                return Path(segments, leaving[symbol])
            run, at = leaving[symbol], stop

    def _grow(self, symbols: Ints, start: int, replays: int, owner: int) -> Run:
        run = Run(owner, start, symbols[start:].copy(), replays)
        self.runs.append(run)
        return run

    def count(self) -> tuple[int, int]:
        """Events and exposure over the tree, in the sense of the design's flips per 1,000 tokens.

        At each context that n ≥ 2 replays share, their n next ids (an end where others go on is one too)
        give n to the exposure and n minus the largest agreeing group to the events. Where all end nothing
        is counted; differing prompts part the replays without an event.
        """
        events = exposure = 0
        for run in self.runs:
            fork = None
            for fork in run.forks():
                exposure += fork.replays * (fork.tokens + fork.counted)
                events += fork.events
            tokens, here = run.rest(fork)
            exposure += here * tokens if here >= 2 else 0
        return events, exposure


@dataclass(frozen=True)
class Step:
    """A piece of a trajectory's way: ids that all who share their contexts agree on, then perhaps a fork.

    `tokens`, `replays`: how many ids, and how many replays share each of their contexts. `fork`, `symbol`:
    the fork after them and what the trajectory took there, None at its end.
    """

    tokens: int
    replays: int
    fork: Fork | None
    symbol: int | None


class Walks:
    """How trajectories fared in a tree that is complete."""

    def __init__(self, tree: ContextTree) -> None:
        self._forks = {run: run.forks() for run in tree.runs}

    def steps(self, path: Path) -> Iterator[Step]:
        """A trajectory's way from its start to its end."""
        runs = [segment.run for segment in path.segments] + ([path.own] if path.own else [])
        for run, following in zip(runs, [*runs[1:], None], strict=True):
            fork = None
            for fork in self._forks[run]:
                if following is not None and fork.index == following.start:
                    yield Step(fork.tokens, fork.replays, fork, following.symbol(fork.index))
                    break
                yield Step(fork.tokens, fork.replays, fork, run.symbol(fork.index))
            if following is None:
                tokens, here = run.rest(fork)
                yield Step(tokens, here, None, None)

    def along(self, path: Path, tokens: int) -> tuple[Ints, Ints]:
        """At each of the trajectory's `tokens` generated ids: replays that share the context, and events."""
        replays, events = np.zeros(tokens, dtype=np.int32), np.zeros(tokens, dtype=np.int32)
        at = 0
        for step in self.steps(path):
            replays[at : at + step.tokens] = step.replays
            at += step.tokens
            if step.fork is not None and step.symbol is not None and step.symbol >= 0:
                replays[at], events[at] = step.fork.replays, step.fork.events
                at += 1
        return replays, events

    def of_one(self, path: Path) -> tuple[float, int]:
        """Events and exposure of one replay: over all replays they add up to those of the tree."""
        events, exposure = 0.0, 0
        for step in self.steps(path):
            exposure += step.tokens if step.replays >= 2 else 0
            if step.fork is not None and step.symbol is not None:
                exposure += step.fork.counted
                events += step.fork.share(step.symbol)
        return events, exposure

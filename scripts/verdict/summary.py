"""A cell's summary: cell.json from its sessions.

One replay is in memory at a time, beside it what is compact: four bytes for every context that was walked,
two doubles for every one that two replays share. Each distinct transcript, and each distinct logprobs file,
is parsed once.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from msgspec.structs import replace

from scripts.common.errors import DataError
from scripts.records.cell import (
    CandidatePair,
    Cell,
    CellNotDone,
    Difference,
    ReplayHashes,
    ReplayName,
    Ties,
)
from scripts.records.figures import Interval
from scripts.records.forced import CellForced, Forced, Mode
from scripts.records.question import QuestionAsked, QuestionFound
from scripts.verdict import causes, outcomes, parts, question, ties
from scripts.verdict.agreement import check_agreement
from scripts.verdict.bootstrap import LEAST_SESSIONS, flips_bootstrap
from scripts.verdict.classes import FIRST_BLOCK, TIE_MARGIN, cell_class, difference_class
from scripts.verdict.contexts import ContextTree, Walks
from scripts.verdict.contexts import Path as Walk
from scripts.verdict.differences import FirstDifference, in_ids, in_words
from scripts.verdict.forced import check_turns, deterministic, read_passes
from scripts.verdict.grouping import groups, identical, largest_group
from scripts.verdict.kernels import flags, kernels, resolved_differently
from scripts.verdict.logprobs import Counted, Known, Spot, count_bits, read_arrays
from scripts.verdict.noise import Noise
from scripts.verdict.partial import bits_keys, judged_bits
from scripts.verdict.rates import at_most, flips_per_1000
from scripts.verdict.readings import Evidence, read_evidence, readings
from scripts.verdict.replays import AGAIN, Replay, find_replays, find_sessions
from scripts.verdict.steps import logit_step
from scripts.verdict.streams import Ints, PromptCodes, Trajectory, read_trajectory
from scripts.volatile.describe import name_volatile


@dataclass(frozen=True)
class Walked:
    """A distinct transcript.

    Its replays (indices, earliest first), its outline, its way through each scenario's tree, and where it
    first differs from the reference.
    """

    replays: list[int]
    trajectory: Trajectory
    walks: dict[str, Walk]
    differences: list[FirstDifference]


@dataclass(frozen=True)
class Said:
    """What the transcripts say. `walked`: the reference's first, the others in reading order."""

    walked: list[Walked]
    trees: dict[str, ContextTree]


@dataclass(frozen=True)
class Computed:
    """What the logprobs say: the noise, and each replay's candidates where it first differed.

    `reference`: what the reference knew at those places. `others`: the same by replay's index. `counted`: how much
    there is of each replay, None without a file.
    """

    noise: Noise
    reference: dict[Spot, Known]
    others: dict[int, dict[Spot, Known]]
    counted: list[Counted | None]

    @property
    def not_greedy(self) -> tuple[int, int]:
        """At how many positions another id was more likely than the chosen one, and of how many that is known."""
        there = [each for each in self.counted if each is not None]
        return sum(each.not_greedy for each in there), sum(each.with_bits for each in there)


def summarise(
    cell: Path,
    *,
    first_block: int = FIRST_BLOCK,
    tie_margin: float = TIE_MARGIN,
    asked: QuestionAsked | None = None,
    count: int | None = None,
) -> Cell:
    """The verdict of the cell in that folder; DataError where anything is missing or torn.

    `asked`: the cell's question. `count`: how many of its sessions count, the first ones.
    """
    sessions = find_sessions(cell)[:count]
    check_agreement(sessions)
    replays = find_replays(sessions)
    said = read_said(replays)
    described = sessions[0].record.resolved
    text = described is not None and described.mode == "text"
    recorded = any(replay.logprobs is not None for replay in replays)
    computed = read_computed(replays, said, text=text) if recorded else None
    evidence = read_evidence(replays)
    bits = judged_bits(replays, computed.counted, evidence, text=text) if computed else None
    same = said.walked[0].replays[0]
    forced, near_ties = read_forced(cell, replays, said)
    noise = computed.noise.summary() if computed else None
    p99 = noise.margin.p99 if noise and noise.margin else None

    steps = _Steps(computed)
    differences = [
        _difference(
            (same, index),
            replays,
            found,
            computed,
            evidence,
            steps,
            p99,
            first_block=first_block,
            tie_margin=tie_margin,
        )
        for index, found in _by_replay(replays, said)
    ]
    of_replay = {index: each.trajectory for each in said.walked for index in each.replays}
    trajectories = [of_replay[index] for index in range(len(replays))]
    counts = [tree.count() for tree in said.trees.values()]
    events, exposure = sum(count[0] for count in counts), sum(count[1] for count in counts)
    keys = bits_keys(replays, computed.counted if computed else [None] * len(replays))
    k_text = identical([replay.transcript_sha256 for replay in replays])
    k_bits = identical([key for key in keys if key is not None]) if computed else None
    of_bits = bits.replays if bits else len(replays)
    reference = replays[same]
    hashes = [_hashes(replay) for replay in replays]
    compared = _compared(hashes, keys)
    record = sessions[0].record
    return Cell(
        model=record.model,
        precision=record.precision,
        engine=record.engine,
        variant=record.variant,
        sessions=len(sessions),
        replays=len(replays),
        text_identical=k_text,
        logprobs_identical=k_bits,
        hashes=hashes,
        reference=ReplayName(session=reference.session, replay=reference.number),
        class_=cell_class(
            (each.class_ for each in differences),
            bits_equal=None if k_bits is None else k_bits == of_bits,
        ),
        differences=differences,
        flips_per_1000_tokens=flips_per_1000(events, exposure),
        agreement=parts.agreement(compared),
        parts=parts.parts(compared),
        cause=causes.find_cause(compared, [each.record for each in sessions]),
        volatile=_volatile(replays, said),
        flips_bootstrap=_bootstrap(replays, said),
        at_most=at_most(events, exposure),
        noise=noise,
        exact_ties=computed.noise.exact_ties if computed else None,
        score=outcomes.score(trajectories, sessions),
        tokens=outcomes.tokens([each.tokens for each in trajectories]),
        tokens_per_second=outcomes.tokens_per_second(sessions),
        forced=forced,
        deterministic=deterministic(
            replays=len(replays),
            text_identical=k_text,
            # Equal as far as they are known is not known to be equal.
            bits_identical=None if bits and k_bits == of_bits else k_bits,
            forced=forced,
        ),
        ties=near_ties,
        question=None if asked is None else answer(asked, said, len(sessions), len(replays)),
        first_block=first_block,
        tie_margin=tie_margin,
        bits=bits,
        readings=readings(
            evidence,
            replays,
            sessions,
            compared,
            differences,
            reference=same,
            not_greedy=computed.not_greedy if computed else None,
            bits=bits,
        ),
        kernels=kernels(record),
        resolved=record.resolved.resolved if record.resolved else None,
        resolved_differently=resolved_differently(sessions),
        flags=flags(record),
        ignored=record.ignored,
    )


def judge(
    cell: Path,
    *,
    first_block: int = FIRST_BLOCK,
    tie_margin: float = TIE_MARGIN,
    asked: QuestionAsked | None = None,
    count: int | None = None,
) -> Cell | CellNotDone:
    """As `summarise`, or that the cell is refused, where the engine of any of its sessions refused to start."""
    sessions = find_sessions(cell)[:count]
    refused = [each for each in sessions if each.record.refused]
    if not refused:
        return summarise(cell, first_block=first_block, tie_margin=tie_margin, asked=asked, count=count)
    check_agreement(sessions)
    first = refused[0].record
    assert first.refused is not None
    some = f" (in {len(refused)} of {len(sessions)} sessions)" if len(refused) < len(sessions) else ""
    return CellNotDone(
        status="refused",
        model=first.model,
        precision=first.precision,
        engine=first.engine,
        variant=first.variant,
        reason=f"{first.refused.sentence}{some}",
        refused=first.refused,
    )


def look(cell: Path, asked: QuestionAsked, count: int) -> QuestionFound:
    """What the first `count` sessions of the cell in that folder answer to its question; their text alone is read.

    Where an engine refused to start, the question is given up.
    """
    sessions = find_sessions(cell)[:count]
    check_agreement(sessions)
    if any(each.record.refused for each in sessions):
        none = question.account(asked, [], agreeing=0, sessions=len(sessions), tokens=0)
        return msgspec.structs.replace(none, spent=True, sentence="the engine refused to start")
    replays = find_replays(sessions)
    return answer(asked, read_said(replays), len(sessions), len(replays))


def answer(asked: QuestionAsked, said: Said, sessions: int, replays: int) -> QuestionFound:
    """What so many sessions and replays answer by what they said."""
    witnesses = [question.Witness(False, 0.0)] * replays
    for each in said.walked:
        seen = _witness(each, said.walked[0].trajectory)
        for index in each.replays:
            witnesses[index] = seen
    return question.account(
        asked,
        witnesses,
        agreeing=len(said.walked[0].replays),
        sessions=sessions,
        tokens=sum(each.trajectory.tokens * len(each.replays) for each in said.walked),
    )


def _witness(walked: Walked, reference: Trajectory) -> question.Witness:
    """What the replays of one transcript count for: they flipped where their ids, not their prompts, first parted."""
    parted = {each.scenario: each for each in walked.differences}
    exposure = sum(
        parted[name].place.position if name in parted and parted[name].kind == "harness" else shape.tokens
        for name, shape in reference.shapes.items()
    )
    return question.Witness(any(each.kind == "model" for each in walked.differences), float(exposure))


def read_said(replays: list[Replay]) -> Said:
    """Read each distinct transcript once: trees of contexts, and first differences from the reference."""
    hashes = [replay.transcript_sha256 for replay in replays]
    same = largest_group(hashes)
    order = [same, *(group for group in groups(hashes) if group != same)]
    codes, trees, walked = PromptCodes(), dict[str, ContextTree](), list[Walked]()
    reference: tuple[Path, Trajectory, dict[str, Ints]] | None = None
    for number, group in enumerate(order):
        path = replays[group[0]].transcript
        trajectory, symbols = read_trajectory(path, codes)
        if reference is None:
            reference = path, trajectory, symbols
            trees = {scenario: ContextTree() for scenario in symbols}
        _check_scenarios(reference, path, symbols)
        walks = {
            scenario: trees[scenario].insert(symbols[scenario], len(group), number) for scenario in trees
        }
        differences = _first_differences(reference, (path, trajectory, symbols)) if number else []
        walked.append(Walked(group, trajectory, walks, differences))
    return Said(walked, trees)


def _check_scenarios(
    reference: tuple[Path, Trajectory, dict[str, Ints]], path: Path, symbols: dict[str, Ints]
) -> None:
    odd = sorted(set(symbols) ^ set(reference[2]))
    if odd:
        lacking = path if odd[0] in reference[2] else reference[0]
        raise DataError(
            f"the file is torn: scenario {odd[0]!r} is missing, other replays of the cell have it",
            where=str(lacking),
            remedy=AGAIN,
        )


def _first_differences(
    reference: tuple[Path, Trajectory, dict[str, Ints]], other: tuple[Path, Trajectory, dict[str, Ints]]
) -> list[FirstDifference]:
    path, trajectory, symbols = reference
    found = {
        scenario: in_ids(scenario, trajectory.shapes[scenario], symbols[scenario], other[2][scenario])
        for scenario in symbols
    }
    equal = [scenario for scenario, difference in found.items() if difference is None]
    if equal:
        alone = len(equal) == len(found)
        words = in_words((path, trajectory), (other[0], other[1]), equal, alone=alone)
        found |= {each.scenario: each for each in words}
    return [difference for difference in found.values() if difference is not None]


def _spot(difference: FirstDifference) -> Spot:
    return difference.scenario, difference.place.turn, difference.place.offset


def _spots(walked: Walked, *, reference: bool) -> set[Spot]:
    """Where candidates are wanted: at a model's differences, where that replay has an id."""
    return {
        _spot(each)
        for each in walked.differences
        if each.kind == "model" and (each.token if reference else each.other) is not None
    }


def read_computed(replays: list[Replay], said: Said, *, text: bool = False) -> Computed:
    """Read each distinct logprobs file once (per transcript it belongs to). `text`: it is a chat endpoint's."""
    noise = Noise()
    at_reference: dict[Spot, Known] = {}
    others: dict[int, dict[Spot, Known]] = {}
    counted: list[Counted | None] = [None] * len(replays)
    wanted = set().union(*(_spots(each, reference=True) for each in said.walked))
    for number, each in enumerate(said.walked):
        recorded = [index for index in each.replays if replays[index].logprobs is not None]
        files = groups([replays[index].logprobs_sha256 for index in recorded])
        if not files:
            for scenario, walk in each.walks.items():
                noise.add_unknown(each.trajectory.shapes[scenario], walk)
        for nth, members in enumerate(files):
            indices = [recorded[member] for member in members]
            first = replays[indices[0]]
            assert first.logprobs is not None
            spots = wanted if number == nth == 0 else _spots(each, reference=False)
            arrays, known = read_arrays(first.logprobs, first.transcript, each.trajectory, spots, text=text)
            there = count_bits(arrays, each.trajectory)
            for index in indices:
                counted[index] = there
            if number == nth == 0:
                at_reference = known
            others |= dict.fromkeys(indices, known)
            for scenario, walk in each.walks.items():
                shape = each.trajectory.shapes[scenario]
                if nth == 0:
                    noise.add_first(arrays[scenario], shape, walk, len(indices), alone=len(files) == 1)
                else:
                    noise.add_further(arrays[scenario], shape, walk, len(indices))
    return Computed(noise, at_reference, others, counted)


def read_forced(cell: Path, replays: list[Replay], said: Said) -> tuple[CellForced | None, Ties]:
    """What forced.json and the passes beside it say, None where there is none, and of near-ties.

    DataError where they do not fit.
    """
    path = cell / "forced.json"
    if not path.exists():
        return None, ties.account(None, None, _none(), _none())
    content = Forced.read(path)
    found, source = content.modes.short(), content.trajectory
    places = {(each.session, each.number): index for index, each in enumerate(replays)}
    index = places.get((source.session, source.replay))
    walked = next((each for each in said.walked if index in each.replays), None)
    if walked is None:
        raise DataError(
            f"it forced replay {source.replay} of session {source.session}, which is not there",
            where=str(path),
        )
    lengths = {name: shape.lengths for name, shape in walked.trajectory.shapes.items()}
    turns = [
        (name, turn, int(lengths[name][turn]))
        for name, turn in walked.trajectory.turns
        if name in source.scenarios
    ]
    preferred: tuple[Mode, ...] = ("decode", "prefill")
    for mode in preferred:
        passes = read_passes(cell, mode) if mode in found.run() else None
        if passes is not None:
            check_turns(passes, turns, str(path))
            return found, ties.account(passes, mode, *_along(said, walked, turns))
    return found, ties.account(None, None, _none(), _none())


def _none() -> ties.Counts:
    return np.empty(0, dtype=np.int64)


def _along(said: Said, walked: Walked, turns: list[tuple[str, int, int]]) -> tuple[ties.Counts, ties.Counts]:
    """Replays that share the context, and events, at each forced position, in the order of `turns`."""
    found = {}
    for name in dict.fromkeys(name for name, _, _ in turns):
        columns = Walks(said.trees[name]).along(walked.walks[name], walked.trajectory.shapes[name].tokens)
        cuts = np.cumsum(walked.trajectory.shapes[name].lengths)[:-1]
        found[name] = [np.split(column, cuts) for column in columns]
    replays, events = (
        np.concatenate([_none(), *(found[name][column][turn] for name, turn, _ in turns)])
        for column in (0, 1)
    )
    return replays, events


def _volatile(replays: list[Replay], said: Said) -> str | None:
    """What parts the prompts of replays from the reference's, by tool and kind; None where nothing does."""
    reference = replays[said.walked[0].replays[0]].transcript
    parted = [each for each in said.walked if any(found.kind == "harness" for found in each.differences)]
    if not parted:
        return None
    return name_volatile((reference, replays[each.replays[0]].transcript) for each in parted)


def _bootstrap(replays: list[Replay], said: Said) -> Interval | None:
    if len({replay.session for replay in replays}) < LEAST_SESSIONS:
        return None
    walks = {name: Walks(tree) for name, tree in said.trees.items()}
    events, exposure = [0.0] * len(replays), [0] * len(replays)
    for each in said.walked:
        ones = [walks[name].of_one(path) for name, path in each.walks.items()]
        for index in each.replays:
            events[index], exposure[index] = sum(one[0] for one in ones), sum(one[1] for one in ones)
    return flips_bootstrap([replay.session for replay in replays], events, exposure)


def _by_replay(replays: list[Replay], said: Said) -> list[tuple[int, FirstDifference]]:
    of_replay = {index: each.differences for each in said.walked for index in each.replays}
    return [(index, found) for index in range(len(replays)) for found in of_replay[index]]


class _Steps:
    """Margins in steps of the logits, each place of the reference looked at once."""

    def __init__(self, computed: Computed | None) -> None:
        self._computed = computed
        self._known: dict[Spot, float | None] = {}

    def count(self, margin: float, spot: Spot, token: int | None) -> float | None:
        """A `margin` at a place in steps of the logit of the reference's `token` there; None where it is not known."""
        if self._computed is None or token is None:
            return None
        if spot not in self._known:
            others = (known[spot] for known in self._computed.others.values() if spot in known)
            found = (each for each in (self._computed.reference.get(spot), *others) if each)
            records = {id(each): each.candidates for each in found}
            self._known[spot] = logit_step(token, list(records.values()))
        step = self._known[spot]
        return None if step is None else round(margin / step, 2)


def _difference(
    pair: tuple[int, int],
    replays: list[Replay],
    found: FirstDifference,
    computed: Computed | None,
    evidence: Evidence,
    steps: _Steps,
    margin_noise_p99: float | None,
    *,
    first_block: int,
    tie_margin: float,
) -> Difference:
    """A first difference with its class. `pair`: the indices of the reference and of the replay."""
    reference, index = pair
    at_model = computed is not None and found.kind == "model"
    mine = computed.reference.get(_spot(found)) if computed and at_model else None
    theirs = computed.others.get(index, {}).get(_spot(found)) if computed and at_model else None
    margin, censored = _margin(mine, theirs, found.other)
    other_margin, other_censored = _margin(theirs, mine, found.token)
    place = found.scenario, found.place.turn
    return Difference(
        session=replays[index].session,
        replay=replays[index].number,
        scenario=found.scenario,
        turn=found.place.turn,
        kind=found.kind,
        position=found.place.position,
        margin=margin,
        margin_censored=censored,
        class_=difference_class(
            found.kind,
            found.place.position,
            margin,
            margin_noise_p99=margin_noise_p99,
            first_block=first_block,
            tie_margin=tie_margin,
            of_harness=evidence.of_harness(reference, index, place),
            refusal=evidence.refused(reference, index, place),
            greedy=all(each is None or each.greedy for each in (mine, theirs)),
        ),
        token=found.token,
        other_token=found.other,
        other_margin=other_margin,
        other_margin_censored=other_censored,
        candidates=CandidatePair(
            reference=mine.candidates if mine else None, other=theirs.candidates if theirs else None
        ),
        margin_steps=None if margin is None else steps.count(margin, _spot(found), found.token),
    )


def _margin(of: Known | None, other: Known | None, token: int | None) -> tuple[float | None, bool]:
    """By how much one replay preferred its id to that of the other one, and whether that is a bound alone.

    `token`: the other replay's id, None where it ended. What it is among the candidates is known of it where its bits
    are, and where both name a token from the same place on.
    """
    if of is None:
        return None, False
    if other is not None and token is not None:
        token = other.token if other.start == of.start else None
    return of.candidates.margin_to(token)


def _compared(hashes: list[ReplayHashes], keys: list[str | None]) -> list[ReplayHashes]:
    """The hashes as replays are compared: equal bits are equal keys, and a replay without any differs from none."""
    known = {each.transcript: key for each, key in zip(hashes, keys, strict=True) if key is not None}
    return [
        replace(each, logprobs=known.get(each.transcript, "") if key is None and known else key)
        for each, key in zip(hashes, keys, strict=True)
    ]


def _hashes(replay: Replay) -> ReplayHashes:
    return ReplayHashes(
        session=replay.session,
        replay=replay.number,
        transcript=replay.transcript_sha256,
        logprobs=replay.logprobs_sha256,
    )

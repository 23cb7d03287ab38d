"""Ablations: what each change of one deployment's settings does to its bits, as a page with a verdict.

A change removes a difference, or brings one, only where that can hardly be chance: sessions are permuted between
baseline and change (scripts/verdict/sessions.py), of each as many replays as all have, and at most a chance of
`LEVEL` is asked. Forced passes are shown, and keep a variant from counting as equal; they prove no cause, since their
positions are not independent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from scripts.common.words import bare
from scripts.records.cell import Cell
from scripts.records.forced import MODES, Mode, ModeForced
from scripts.records.grid import AblationRecord, Grid, GridCell
from scripts.records.session import Refusal
from scripts.report import figures
from scripts.report.entries import Entry, read_entry
from scripts.report.figures import DASH
from scripts.report.markdown import markdown_table
from scripts.verdict import routing, sessions
from scripts.verdict.forced import deterministic
from scripts.verdict.kernels import READ_INTO_KERNELS, UNKNOWN
from scripts.verdict.sessions import LEVEL

SPEED = "tokens/s (× baseline), varies"

LEGEND = """\
- **text, logprobs**: k/N, the largest group of N free replays that are the same bytes in what was said, in what was
  computed; 0 where no two agree.
- **forced**: a recorded trajectory is fed back several times, and at so many positions the bits were not equal in all
  passes.
- **bits**: variants with one letter gave the same bytes, transcripts and logprobs, in every replay of theirs; a dash
  where a variant's own replays or forced passes differ, or too little was looked at.
- **removes, brings**: said only where so clean a split has a chance of 5 % or less if the change did nothing. What is
  dealt out by chance is sessions, starts of the engine, since replays of one may share what its start decided (exact
  test, two-sided, each change by itself; of each session as many replays as all have). Forced passes are no proof of a
  cause.
- **flips per 1,000**: per 1,000 tokens compared, with a 95 % interval: sessions resampled where there are five or more,
  else the exact Poisson interval, taking sessions as alike; `0 (≤ x)`: none was seen, x is the one-sided 95 % bound
  given these sessions.
- **tokens/s**: the one column that varies from build to build: read it as a rough size.
"""
FLAGS_LEGEND = """\
- **flags**: what became of the arguments and variables that a variant changes: `honoured` where the engine chose
  something otherwise or bits differ by more than chance; `accepted, without effect` where its log says so, or all that
  it chose and all bits are the baseline's, as far as bits show; `refused` where it did not start and the last error in
  its log names them; else `accepted, effect not told`.
"""
EXPERTS_LEGEND = """\
- **experts**: those that the layers chose, as sets. A step's experts are chosen before its logits are there; each
  forced pass is compared with the first one, step by step, up to the first step in which experts or logits differ.
"""


class Bits(Enum):
    """Whether a variant's replays and forced passes are equal in bits, as far as was looked."""

    EQUAL = "equal"
    UNEQUAL = "unequal"
    UNKNOWN = "unknown"
    NOT_RUN = "not run"


@dataclass(frozen=True)
class Look:
    """One variant of an ablation. `changed`: its settings against the baseline, `key: from → to`; none of its own."""

    variant: str
    changed: tuple[str, ...]
    entry: Entry

    @property
    def found(self) -> Cell:
        """cell.json of a variant that was run."""
        assert self.entry.summary is not None
        return self.entry.summary

    @property
    def modes(self) -> dict[Mode, ModeForced]:
        """The modes in which a variant that was run was forced."""
        return self.found.forced.run() if self.found.forced else {}

    @property
    def replays(self) -> int:
        """N, the free replays."""
        return self.found.replays

    @property
    def equal_replays(self) -> int:
        """k, the largest group of equal replays: in bits, or in text where no bits were recorded."""
        bits = self.found.logprobs_identical
        return self.found.text_identical if bits is None else bits

    @property
    def bits(self) -> Bits:
        """Whether it is equal in bits."""
        if self.entry.summary is None:
            return Bits.NOT_RUN
        found = self.found
        whole = deterministic(
            replays=self.replays,
            text_identical=found.text_identical,
            bits_identical=found.logprobs_identical,
            forced=found.forced,
        )
        if whole is False:
            return Bits.UNEQUAL
        return Bits.EQUAL if self.replays >= 2 and found.logprobs_identical == self.replays else Bits.UNKNOWN

    @property
    def replay_hashes(self) -> list[tuple[str, str | None]]:
        """The transcript's and the logprobs' sha256 of each replay; none where cell.json has none."""
        return [(each.transcript, each.logprobs) for each in self.found.hashes]

    @property
    def hashes(self) -> tuple[str, str | None] | None:
        """The transcript's and the logprobs' sha256 that all replays share; None where it is not equal in bits."""
        pairs = set(self.replay_hashes) if self.bits is Bits.EQUAL else set()
        return pairs.pop() if len(pairs) == 1 else None

    @property
    def looked_at(self) -> str:
        """What was looked at and was equal, in words."""
        unit = "bits" if self.found.logprobs_identical is not None else "text (no logprobs recorded)"
        parts = [f"{self.equal_replays} of {figures.count(self.replays, 'free replay')} equal in {unit}"]
        modes = self.modes
        if modes and not any(each.unequal_bits.positions for each in modes.values()):
            passes = (f"{mode} {each.passes} × {each.positions:,}" for mode, each in modes.items())
            parts.append(f"no forced position unequal ({', '.join(passes)})")
        else:
            parts += [
                f"{mode} {each.unequal_bits.positions:,} of {each.positions:,} forced positions unequal"
                f" in {each.passes} passes"
                for mode, each in modes.items()
            ]
        return ", ".join(parts)

    @property
    def harness(self) -> bool:
        """Whether its replays part in the prompt, before the model does anything."""
        return self.entry.summary is not None and self.found.class_ == "harness"


class Outcome(Enum):
    """What a change did; the value is said of it in the verdict."""

    REMOVES = "{} removes it"
    KEEPS = "{} does not remove it"
    BRINGS = "{} brings a difference"
    OTHER = "{} gives other bits than the baseline, the same in every replay"
    NOTHING = "{} was accepted and changed nothing"
    EQUAL = "{} is equal in bits too (its bits are not compared with the baseline's)"
    UNPROVEN = "of {} too little was looked at to say"
    REFUSED = "{} was refused by the engine"
    NOT_RUN = "{} was not run"


PLURALS = {
    Outcome.REMOVES: "{} each remove it",
    Outcome.KEEPS: "{} do not remove it",
    Outcome.BRINGS: "{} each bring a difference",
    Outcome.OTHER: "{} give other bits than the baseline, the same in every replay",
    Outcome.NOTHING: "{} were accepted and changed nothing",
    Outcome.EQUAL: "{} are equal in bits too (their bits are not compared with the baseline's)",
    Outcome.REFUSED: "{} were refused by the engine",
    Outcome.NOT_RUN: "{} were not run",
}


# What a change of flags shows in bits where nothing was resolved otherwise.
SEEN = {
    Outcome.REMOVES: "removes a difference",
    Outcome.BRINGS: "brings a difference",
    Outcome.OTHER: "other bits",
}


@dataclass(frozen=True)
class Judged:
    """A change's outcome, and the sentence that says from what it follows."""

    look: Look
    outcome: Outcome
    reason: str


def judge(baseline: Look, change: Look) -> Judged | None:
    """What the change did to the bits; None where the baseline allows no judgement."""
    if baseline.bits in (Bits.NOT_RUN, Bits.UNKNOWN):
        return None
    if change.entry.refused is not None:
        said = change.entry.refused
        return Judged(change, Outcome.REFUSED, f"its engine did not start ({said.ended}): {quoted(said)}.")
    if change.bits is Bits.NOT_RUN:
        return Judged(change, Outcome.NOT_RUN, f"{change.entry.not_run}.")
    seen = change.looked_at
    if change.bits is Bits.UNKNOWN:
        return Judged(change, Outcome.UNPROVEN, f"{seen}: too few to judge bits by.")
    if baseline.bits is change.bits:
        if change.bits is Bits.UNEQUAL:
            return Judged(change, Outcome.KEEPS, f"{seen}{_in_prompts(change)}.")
        return _compare(baseline, change)
    brings = baseline.bits is Bits.EQUAL
    against = (
        f"{seen}{_in_prompts(change)}, against {baseline.equal_replays} of {baseline.replays} in the baseline"
    )
    chance = _chance(baseline, change)
    if chance is None or chance > LEVEL:
        return Judged(
            change,
            Outcome.UNPROVEN,
            f"{against}: too little to name a cause ({_why_unproven(baseline, change, chance, brings=brings)}).",
        )
    words = f"{against}: {_sessions(baseline, change)} would split so in {_percent(chance)} of cases if it did nothing"
    if brings:
        return Judged(change, Outcome.BRINGS, f"{words}{_with_its_bits(baseline, change)}.")
    return Judged(change, Outcome.REMOVES, f"{words}.")


def quoted(refused: Refusal) -> str:
    """The sentence of a refusal as it stands in a log, for a page in Markdown."""
    return f"`{refused.sentence.replace('`', chr(39))}`"


def flag_verdict(base: Entry | None, entry: Entry) -> str | None:
    """What became of the arguments and variables in which a cell differs from `base` of its deployment.

    None where it sets none of its own, or nothing is known of either.
    """
    if entry.refused is not None:
        return f"refused: {', '.join(entry.refused.named)}"
    one, other = base.summary if base else None, entry.summary
    if base is None or one is None or other is None or one.flags is None or other.flags is None:
        return None
    if base is entry or one.flags == other.flags:
        return None
    unheeded = f"; not heeded by its log: {', '.join(other.ignored)}" if other.ignored else ""
    if otherwise := _resolved_otherwise(one, other):
        return f"honoured: {', '.join(otherwise)}{unheeded}"
    judged = judge(Look("base", (), base), Look(entry.planned.variant, (), entry))
    if judged is not None and judged.outcome in SEEN:
        return f"honoured: {SEEN[judged.outcome]}{unheeded}"
    if (judged is not None and judged.outcome is Outcome.NOTHING) or other.ignored:
        return "accepted, without effect" + (unheeded or " (as far as bits show)")
    return "accepted, effect not told"


def _resolved_otherwise(one: Cell, other: Cell) -> list[str]:
    """What the engine of `other` resolved otherwise than that of `one`, where that is no echo of what was asked."""
    assert one.flags is not None and other.flags is not None
    asked = {bare(value) for key, value in other.flags.items() if one.flags.get(key) != value}
    before, after = figures.named_kernels(one), figures.named_kernels(other)
    found = [
        f"{name} {word}, not {before[name]}"
        for name, word in after.items()
        if name in before and before[name] != word and UNKNOWN not in (word, before[name])
    ]
    was, came = one.resolved or {}, other.resolved or {}
    for key in sorted((was.keys() | came.keys()) - READ_INTO_KERNELS):
        old, new = was.get(key), came.get(key)
        if key == "patch":  # a checkpoint may bring one of its own
            found += [f"patch {each}" for each in _patches(new) if each not in _patches(old)]
        elif old is not None and new is not None and old != new and bare(str(new)) not in asked:
            found.append(f"{key} {new}, not {old}")
    return found


def _patches(said: object) -> list[str]:
    return str(said).split(", ") if said else []


def _states(baseline: Look, change: Look) -> tuple[list[sessions.State], list[sessions.State]] | None:
    """What the sessions of both share, over as many replays of each as all have; None where there are no hashes."""
    both = baseline.found.hashes, change.found.hashes
    if not all(both):
        return None
    replays = sessions.least_replays(*both)
    return sessions.states(both[0], replays), sessions.states(both[1], replays)


def _chance(baseline: Look, change: Look) -> float | None:
    """The chance that sessions split as they did, one side equal and the other not; None where they did not."""
    found = _states(baseline, change)
    return None if found is None else sessions.chance_of_split(*found)


def _why_unproven(baseline: Look, change: Look, chance: float | None, *, brings: bool) -> str:
    if chance is None:
        if not (baseline.found.hashes and change.found.hashes):
            return "cell.json has no hashes to compare"
        return "free replays of equally long sessions do not part"
    counts = (baseline.found.sessions, change.found.sessions)
    least = sessions.best_chance(*(reversed(counts) if brings else counts))
    if least <= LEVEL:
        return (
            f"{_sessions(baseline, change)} would split so in {_percent(chance)} of cases if it did nothing"
        )
    needed = sessions.sessions_to_prove()
    return (
        f"the cleanest split of {_sessions(baseline, change)} comes in {_percent(least)} of cases if it did nothing;"
        f" {needed} sessions of each can tell"
    )


def _sessions(baseline: Look, change: Look) -> str:
    return f"{baseline.found.sessions} and {figures.count(change.found.sessions, 'session')}"


def _with_its_bits(baseline: Look, change: Look) -> str:
    """How many replays of a change that differ among themselves have the bits that all of the baseline's have."""
    if baseline.hashes is None or not change.replay_hashes:
        return ""
    count = change.replay_hashes.count(baseline.hashes)
    return f"; {count or 'none'} of its {change.replays} replays {'has' if count < 2 else 'have'} the baseline's bits"


def _compare(baseline: Look, change: Look) -> Judged:
    """Two variants that are each equal in bits: the same bits, or others."""
    mine, theirs = change.hashes, baseline.hashes
    seen = change.looked_at
    if mine is None or theirs is None:
        return Judged(change, Outcome.EQUAL, f"{seen}; cell.json has no hashes to compare.")
    if mine == theirs:
        both = f"all {change.replays} replays and all {baseline.replays} of the baseline"
        return Judged(change, Outcome.NOTHING, f"same bits as the baseline in {both}.")
    text = "the text is the baseline's" if mine[0] == theirs[0] else "the text is another too"
    reason = f"{seen}, but not the baseline's bits; {text}."
    found = _states(baseline, change)
    chance = 0.0 if found is None else sessions.chance_of_other_state(*found)
    if chance > LEVEL:
        reason += f" Did the start decide the bits, {_sessions(baseline, change)} would part so in {_percent(chance)}."
    return Judged(change, Outcome.OTHER, reason)


def verdict(baseline: Look, changes: Sequence[Look]) -> str:
    """One paragraph: what the baseline does, and which changes did what to it."""
    name = f"`{baseline.variant}`"
    if baseline.bits is Bits.NOT_RUN:
        return (
            f"The baseline {name} has no reading ({baseline.entry.not_run}): nothing is said of its changes."
        )
    seen = f"{baseline.looked_at}{_in_prompts(baseline)}"
    if baseline.bits is Bits.UNKNOWN:
        return f"Of the baseline {name} too little was looked at ({seen}): nothing is said of its changes."
    differs = baseline.bits is Bits.UNEQUAL
    judged = [each for change in changes if (each := judge(baseline, change)) is not None]
    outcomes = {each.outcome for each in judged}
    said = []
    if differs and Outcome.REMOVES not in outcomes:
        said.append("no change was shown to remove the difference")
    if not differs and not outcomes & {Outcome.BRINGS, Outcome.UNPROVEN, Outcome.REFUSED, Outcome.NOT_RUN}:
        said.append("no change was seen to bring a difference between replays")
    for outcome in Outcome:
        names = [f"`{each.look.variant}`" for each in judged if each.outcome is outcome]
        if names:
            pattern = PLURALS.get(outcome, outcome.value) if len(names) > 1 else outcome.value
            said.append(pattern.format(_and(names)))
    said += undone(judged)
    return f"The baseline {name} {'differs' if differs else 'is equal'} in bits ({seen}): {'; '.join(said)}."


def undone(judged: Sequence[Judged]) -> list[str]:
    """Which change takes another's effect away: the two together give the bits that it gives alone."""
    looks = [each.look for each in judged]
    return [
        f"on top of `{other.variant}`, what `{one.look.variant}` changes has no effect on the bits"
        f" (`{both.variant}` gives those of `{other.variant}`)"
        for one in judged
        if one.outcome is Outcome.OTHER
        for other in looks
        for both in looks
        if set(both.changed) == {*one.look.changed, *other.changed}
        and len(both.changed) == len(one.look.changed) + len(other.changed)
        and both.hashes is not None
        and both.hashes == other.hashes
    ]


def render_ablations(grid: Grid, entries: Sequence[Entry], key: tuple[str, str, str]) -> str:
    """The page of all ablations of the deployment `key` (model, precision, engine); `entries`: their cells."""
    known = {entry.planned.variant: entry for entry in entries}
    parts = [
        f"# What changes the bits of {key[0]} {key[1]}?",
        f"On {key[2]}. {grid.heading}",
    ]
    legend = [LEGEND]
    letters = _letters([Look(variant, (), entry) for variant, entry in known.items()])
    for ablation in ablations_of(grid, key):
        baseline = Look(ablation.baseline, (), known[ablation.baseline])
        changes = [Look(each.variant, tuple(each.changed), known[each.variant]) for each in ablation.changes]
        parts.append(f"## Changes to `{baseline.variant}`")
        if ablation.question:
            parts.append(f"*{ablation.question}*")
        parts.append(f"**Verdict.** {verdict(baseline, changes)}")
        rows = variant_rows(baseline, changes, letters)
        if any(row["flags"] != DASH for row in rows):
            legend.append(FLAGS_LEGEND)
        parts.append(markdown_table(rows))
        judged = [each for change in changes if (each := judge(baseline, change)) is not None]
        if judged:
            parts.append("\n".join(f"- `{each.look.variant}`: {each.reason}" for each in judged))
        named = [line for look in (baseline, *changes) for line in experts(look)]
        if named:
            legend.append(EXPERTS_LEGEND)
            parts += ["**Experts.** Did routing differ before the logits did?", "\n".join(named)]
    same = _same_bits(letters)
    if same:
        parts += ["## Variants with the same bits", same]
    return "\n\n".join([*parts, "## How to read this", "".join(dict.fromkeys(legend)).rstrip()]) + "\n"


def make_page(grid: Grid, results: Path, key: tuple[str, str, str]) -> str:
    """The page of all ablations of the deployment `key`, from its cells' summaries under `results`.

    A variant that was not run is a row that says so, whether or not the rest of the grid is there.
    """
    entries = [read_entry(cell, results, partial=True) for cell in planned_cells(grid, key)]
    return render_ablations(grid, entries, key)


def ablations_of(grid: Grid, key: tuple[str, str, str]) -> list[AblationRecord]:
    """The grid's ablations of one deployment (model, precision, engine), in the grid's order."""
    return [each for each in grid.ablations if (each.model, each.precision, each.engine) == key]


def planned_cells(grid: Grid, key: tuple[str, str, str]) -> list[GridCell]:
    """The grid's cells that the deployment's ablations compare, in the order in which these name them."""
    listed = ablations_of(grid, key)
    names = [name for each in listed for name in (each.baseline, *(c.variant for c in each.changes))]
    cells = {each.variant: each for each in grid.cells if (each.model, each.precision, each.engine) == key}
    return [cells[name] for name in dict.fromkeys(names)]


def variant_rows(baseline: Look, changes: Sequence[Look], letters: dict[str, str]) -> list[dict[str, str]]:
    """One row a variant, the baseline's first; the speed in the last column, since it alone varies."""
    reference = None if baseline.entry.summary is None else baseline.found.tokens_per_second
    columns = ["variant", "change", "flags", "text", "logprobs", "bits"]
    columns += [*(f"forced {mode}: unequal bits" for mode in MODES), "flips per 1,000 (95 %)", SPEED]
    rows = []
    for look in (baseline, *changes):
        row = dict.fromkeys(columns, DASH)
        row |= {"variant": f"`{look.variant}`", "change": "; ".join(look.changed) or "baseline"}
        rows.append(row)
        row["flags"] = flag_verdict(baseline.entry, look.entry) or DASH
        if look.entry.summary is None:
            row["text"] = "refused" if look.entry.refused else str(look.entry.not_run)
            continue
        found = look.found
        row["text"] = figures.k_of_n(found.text_identical, look.replays)
        row["logprobs"] = figures.k_of_n(found.logprobs_identical, look.replays)
        row["bits"] = letters.get(look.variant, DASH)
        for mode in MODES:
            row[f"forced {mode}: unequal bits"] = _share(look.modes.get(mode))
        row["flips per 1,000 (95 %)"] = figures.flips(found.flips_per_1000_tokens, found.flips_bootstrap)
        row[SPEED] = _speed(found.tokens_per_second, reference)
    return rows


def experts(look: Look) -> list[str]:
    """One line a mode in which the experts were recorded: where they differ, and what differed first."""
    if look.entry.summary is None:
        return []
    lines = []
    for mode, each in look.modes.items():
        found = each.routing
        if found is None:
            continue
        other, same = found.other_experts.positions, found.unequal_bits_same_experts.positions
        lines.append(
            f"- `{look.variant}`, {mode}, {each.passes} passes: other experts at {other:,} of {each.positions:,}"
            f" positions, unequal bits with the same experts at {same:,}. What differed first, in"
            f" {figures.count(found.first.comparisons, 'comparison')} with the first pass: {routing.in_words(found)}."
        )
    return lines


def _share(mode: ModeForced | None) -> str:
    if mode is None:
        return f"{DASH} not run"
    unequal = mode.unequal_bits
    share = f" ({figures.percent(unequal.share)})" if unequal.positions else ""
    return f"{unequal.positions:,} of {mode.positions:,}{share}"


def _speed(speed: float | None, reference: float | None) -> str:
    ratio = f" (× {figures.significant(speed / reference)})" if speed is not None and reference else ""
    return figures.significant(speed) + ratio


def _letters(looks: Sequence[Look]) -> dict[str, str]:
    """A, B, … by variant for each distinct pair of hashes, in the order in which they occur."""
    hashes = {look.variant: look.hashes for look in looks}
    order = list(dict.fromkeys(each for each in hashes.values() if each is not None))
    return {
        variant: figures.letter(order.index(each)) for variant, each in hashes.items() if each is not None
    }


def _same_bits(letters: dict[str, str]) -> str:
    groups: dict[str, list[str]] = {}
    for variant, letter in letters.items():
        groups.setdefault(letter, []).append(f"`{variant}`")
    return "\n".join(
        f"- {letter}: {_and(names)} gave the same bytes in every replay."
        for letter, names in groups.items()
        if len(names) > 1
    )


def _in_prompts(look: Look) -> str:
    return "; the prompts differ before the model does (harness)" if look.harness else ""


def _and(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _percent(chance: float) -> str:
    return f"{figures.significant(100 * chance)} %"

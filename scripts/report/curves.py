"""A curve: what the sessions of a sweep show along its axis, as a page with its thresholds in words, and a figure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

from matplotlib.axes import Axes

from scripts.common.errors import DataError
from scripts.records.sweep import Axis, SweepAsked, SweepPoint, SweepRecord
from scripts.report.figures import DASH, count, k_of_n, percent, significant, tiny
from scripts.report.markdown import markdown_table
from scripts.report.svg import BLUE, GOLD, GREEN, ORANGE, PURPLE, SKY, svg_figure
from scripts.verdict.edges import Change, changes, is_unequal, share_at_most
from scripts.verdict.sessions import share_at_most as sessions_at_most

AXES: dict[Axis, str] = {
    "prompt_tokens": "tokens of the prompt",
    "in_flight": "requests in flight",
    "gpus": "GPUs",
}
MODES = {
    "prefill": "given ids are read at once, and every position's distribution is compared",
    "decode": "given ids are read one by one after the prompt, and every step's distribution is compared",
    "free": "the model goes on by itself, and the ids and their distributions are compared while the ids agree",
}
LOOKS = ((BLUE, "o"), (ORANGE, "s"), (GREEN, "^"), (PURPLE, "D"), (SKY, "v"), (GOLD, "P"))

LEGEND = """\
- **pass**: one prompt computed once; passes of a session are computed one after the other by one engine process. A pass
  *differs* where its bits are not those of the largest group of equal passes; over requests in flight, where they
  are not those that most passes of the prompt had at the smallest value.
- **equal to A, unequal from B**: of the values that were looked at, no pass differed at A, and some did at B, its
  neighbour; found by bisection between listed values. The passes on which this rests were taken after A and B had been
  chosen, at both and at the next value on either side.
- **chance**: how likely it is that every pass that differs is at the unequal value, were the passes at both values
  alike (exact, each threshold by itself). A threshold is *sharp* where A and B are neighbours and the chance is at most
  5 %; a difference that becomes rarer bit by bit has none.
- **unequal bits**: positions at which not all passes agree, of all positions; over all prompts and sessions.
- **flips**: positions with another most likely id in some pass (free: another generated id), per 1,000.
- **sessions apart**: sessions whose bits are not those of most, where no pass differs inside one.

Between two values that were looked at and read alike nothing is known. No difference in so many passes is no proof that
there is none. A session is one start of the engine: what holds in one need not hold in the next, and a threshold that
one session alone has shown is that session's.
"""

Trail = tuple[int, int]  # session, prompt


@dataclass(frozen=True)
class Curve:
    """What one line of the figure is: a cell; over GPUs, cells that differ in their engine alone.

    `points`: by session and prompt what was seen.
    """

    label: str
    points: dict[Trail, list[SweepPoint]]

    @property
    def sessions(self) -> list[int]:
        """The numbers of its sessions."""
        return sorted({session for session, _ in self.points})

    @property
    def prompts(self) -> list[int]:
        """The numbers of its prompts."""
        return sorted({prompt for _, prompt in self.points})

    @property
    def thresholds(self) -> dict[Trail, list[Change]]:
        """Where each prompt's passes change in each session."""
        return {trail: changes(points) for trail, points in sorted(self.points.items())}

    def at(self, value: int, *, listed: bool = True) -> list[SweepPoint]:
        """What was seen at a value; `listed`: where the grid lists it."""
        return [
            point
            for points in self.points.values()
            for point in points
            if point.value == value and (not listed or point.purpose == "listed")
        ]

    def values(self, *, listed: bool = True) -> list[int]:
        """The values that were looked at, ascending; `listed`: those that the grid lists."""
        return sorted(
            {
                point.value
                for points in self.points.values()
                for point in points
                if not listed or point.purpose == "listed"
            }
        )


def read_curves(records: Sequence[SweepRecord]) -> list[Curve]:
    """The curves of a sweep's sessions, in the order of their cells; DataError where they are of several sweeps."""
    if len({repr(each.sweep) for each in records}) != 1:
        asked = ", ".join(sorted({each.sweep.name for each in records}))
        raise DataError(f"these sessions are of unlike sweeps ({asked or 'none'})")
    over_gpus = records[0].sweep.axis == "gpus"
    several = len({each.settings.engine for each in records}) > 1 and not over_gpus
    found: dict[str, dict[Trail, list[SweepPoint]]] = {}
    for record in records:
        each = record.settings
        variant = "" if each.variant == "base" else f", {each.variant}"
        engine = f", {each.engine}" if several else ""
        points = found.setdefault(f"{each.model} {each.precision}{engine}{variant}", {})
        for point in record.points:
            points.setdefault((record.session, point.prompt), []).append(point)
    return [Curve(label, points) for label, points in found.items()]


def make_page(records: Sequence[SweepRecord], figure: str) -> str:
    """The page; `figure`: the name of the figure beside it."""
    curves, sweep = read_curves(records), records[0].sweep
    return "\n\n".join(
        [
            f"# Curve: {sweep.name}",
            _what(sweep),
            f"![Unequal bits and flips against {AXES[sweep.axis]}]({figure})",
            "\n".join(f"- **{each.label}**: {describe(each, sweep)}" for each in curves),
            "## Thresholds",
            markdown_table([row for each in curves for row in _threshold_rows(each)]),
            "## Along the axis",
            markdown_table([row for each in curves for row in _rows(each, sweep)]),
            f"## How to read this\n\n{LEGEND}",
        ]
    )


def _what(sweep: SweepAsked) -> str:
    fixed = "" if sweep.axis == "prompt_tokens" else f" of {sweep.prompt_tokens:,} tokens"
    tokens = "" if sweep.mode == "prefill" else f", {count(sweep.tokens, 'token')} each"
    return (
        f"Over {AXES[sweep.axis]}. Mode {sweep.mode}: {MODES[sweep.mode]}{tokens}. "
        f"{count(sweep.prompts, 'prompt')}{fixed}, {sweep.passes} passes of each at every value, {sweep.confirm} "
        "further ones beside a threshold."
    )


def describe(curve: Curve, sweep: SweepAsked) -> str:
    """What a curve shows, in words."""
    sessions, prompts = curve.sessions, curve.prompts
    looked = f"{count(len(sessions), 'session')} of {count(len(prompts), 'prompt')}"
    values = curve.values()
    seen = [state for points in curve.points.values() for state in is_unequal(points).values()]
    if not any(seen):
        span = f"{count(len(values), 'value')} from {values[0]:,} to {values[-1]:,}"
        bound = percent(share_at_most(sweep.passes))
        unseen = percent(sessions_at_most(0, len(sessions)))
        return (
            f"no difference at {span} ({looked}, {sweep.passes} passes each: of the passes of one prompt at one "
            f"value up to {bound} may differ unseen, and up to {unseen} of sessions; 95 %)"
        )
    if all(seen):
        return f"unequal at every value that was looked at, {values[0]:,} to {values[-1]:,} ({looked})"
    trails = curve.thresholds
    found = {tuple((each.equal, each.unequal) for each in trail) for trail in trails.values()}
    every = [each for trail in trails.values() for each in trail]
    if len(found) == 1 and all(each.is_sharp for each in every):
        named = "; ".join(_named(each) for each in next(iter(trails.values())))
        passes = min(each.confirmed for each in every)
        fewest, most = (pick(each.differing for each in every) for pick in (min, max))
        differ = f"{fewest}" if fewest == most else f"{fewest} to {most}"
        chance = tiny(max(each.chance or 0.0 for each in every))
        return (
            f"**{named}**, in {_all(len(sessions), 'session')} and {_all(len(prompts), 'prompt')} (of {passes} further "
            f"passes none differed at the equal value, {differ} at the unequal one; chance ≤ {chance}){_one(sessions)}"
        )
    parts = [f"prompt {prompt}: {_describe_prompt(curve, prompt)}" for prompt in prompts]
    return f"not one threshold for all; {'; '.join(parts)}{_one(sessions)}"


def _describe_prompt(curve: Curve, prompt: int) -> str:
    """The thresholds of one prompt, over its sessions."""
    trails = [trail for (_, each), trail in curve.thresholds.items() if each == prompt]
    kinds = {tuple(each.equal < each.unequal for each in trail) for trail in trails}
    if len(kinds) > 1 or not trails[0] or not all(each.is_sharp for trail in trails for each in trail):
        seen = [is_unequal(points) for (_, each), points in sorted(curve.points.items()) if each == prompt]
        return _range(seen, confirmed=any(each.confirmed for trail in trails for each in trail))
    said = []
    for same in zip(*trails, strict=True):
        if len({each.span for each in same}) == 1:
            said.append(_named(same[0]))
        else:
            low, high = min(each.span[0] for each in same), max(each.span[1] for each in same)
            upwards = same[0].equal < same[0].unequal
            before, after = ("equal", "unequal") if upwards else ("unequal", "equal")
            said.append(f"{before} to {low:,}, {after} from {high:,}, sessions part between")
    return ", ".join(said)


def _range(seen: Sequence[dict[int, bool]], *, confirmed: bool) -> str:
    """Between which values one prompt's sessions become unequal, where they do so at no one value.

    `confirmed`: whether further passes were taken beside a threshold.
    """
    unequal = sorted({value for each in seen for value, state in each.items() if state})
    values = sorted({value for each in seen for value in each})
    if not unequal:
        return "no difference"
    below = [value for value in values if value < unequal[0]]
    equal = [value for each in seen for value, state in each.items() if not state]
    above = [value for value in unequal if not equal or value > max(equal)]
    start = f"equal to {below[-1]:,}" if below else f"unequal at {unequal[0]:,} already"
    end = (
        f"unequal in all sessions from {above[0]:,}"
        if above
        else f"not always unequal at {values[-1]:,} either"
    )
    if below and above and values.index(above[0]) == values.index(below[-1]) + 1:
        return f"{start}, {end}{', but so rarely that the place may be chance' if confirmed else ''}"
    return f"{start}, {end}, now and then between"


def _named(each: Change) -> str:
    if each.equal < each.unequal:
        return f"equal to {each.equal:,}, unequal from {each.unequal:,}"
    return f"unequal to {each.unequal:,}, equal from {each.equal:,}"


def _all(number: int, thing: str) -> str:
    return f"the one {thing}" if number == 1 else f"all {count(number, thing)}"


def _one(sessions: Sequence[int]) -> str:
    return "; another start of the engine was not looked at" if len(sessions) == 1 else ""


def _threshold_rows(curve: Curve) -> list[dict[str, str]]:
    rows = []
    for (session, prompt), found in curve.thresholds.items():
        trail = {"cell": curve.label, "session": f"{session:02d}", "prompt": str(prompt)}
        if not found:
            states = is_unequal(curve.points[session, prompt]).values()
            rows.append({**trail, "threshold": "unequal at every value" if all(states) else "no difference"})
        for each in found:
            row = {**trail, "threshold": _named(each), "sharp": "yes" if each.is_sharp else "no"}
            if each.chance is not None:
                row["further passes that differ"] = k_of_n(each.differing, each.confirmed)
                row["chance"] = tiny(each.chance)
            rows.append(row)
    return rows


def _rows(curve: Curve, sweep: SweepAsked) -> list[dict[str, str]]:
    """The curve at the values that the grid lists, and those beside a threshold are in the table of thresholds."""
    values = curve.values()
    rows = []
    for value in values:
        points = curve.at(value)
        positions = sum(each.positions for each in points)
        row = {
            "cell": curve.label,
            AXES[sweep.axis]: f"{value:,}",
            "passes that differ": k_of_n(
                sum(each.differing for each in points), sum(each.passes for each in points)
            ),
            "unequal bits": percent(sum(each.unequal for each in points) / positions),
            "flips per 1,000": significant(1000 * sum(each.flips for each in points) / positions),
            "largest Δ logprob, nat": tiny(max(each.largest for each in points)),
            "sessions apart": _sessions_apart(curve, value),
        }
        if sweep.axis != "prompt_tokens":
            row[f"passes with the bits of {values[0]}"] = _as_at(curve, values[0], value)
        rows.append(row)
    return rows


def _sessions_apart(curve: Curve, value: int) -> str:
    """The most sessions, over prompts, whose bits are not those of most; a dash where passes differ inside one."""
    points = curve.at(value)
    if len(curve.sessions) == 1 or any(each.differing for each in points):
        return DASH
    apart = 0
    for prompt in curve.prompts:
        bits = Counter(each.usual for each in points if each.prompt == prompt)
        apart = max(apart, bits.total() - max(bits.values()))
    return k_of_n(apart, len(curve.sessions))


def _as_at(curve: Curve, first: int, value: int) -> str:
    """How many passes have the usual bits of the same prompt and session at the first value."""
    same = total = 0
    for points in curve.points.values():
        listed = {each.value: each for each in points if each.purpose == "listed"}
        if first in listed and value in listed:
            same += listed[value].digests.count(listed[first].usual)
            total += listed[value].passes
    return k_of_n(same, total)


def draw_curve(records: Sequence[SweepRecord], target: Path) -> None:
    """Write the figure as SVG to `target`: the same bytes from the same records."""
    curves, sweep = read_curves(records), records[0].sweep
    with svg_figure(target, width=7, height=5) as figure:
        bits, flips = figure.subplots(2, 1, sharex=True, height_ratios=(3, 2))
        for curve, (colour, marker) in zip(curves, cycle(LOOKS), strict=False):
            for axes, per, of in ((bits, 100, "unequal"), (flips, 1000, "flips")):
                _draw_line(axes, curve, per, of, colour, marker)
            for change in {each for trail in curve.thresholds.values() for each in trail if each.is_sharp}:
                bits.axvline(sum(change.span) / 2, color=colour, linewidth=0.8, linestyle=":")
        bits.set_ylabel("unequal bits, % of positions")
        flips.set_ylabel("flips per 1,000 positions")
        flips.set_xlabel(AXES[sweep.axis])
        flips.set_xscale("log", base=2)
        ticks = sorted({value for curve in curves for value in curve.values()})
        flips.set_xticks(ticks, [f"{value:,}" for value in ticks], rotation=60)
        flips.minorticks_off()
        for axes in (bits, flips):
            axes.grid(linewidth=0.3)
            top = max(axes.get_ylim()[1], 1.0)
            axes.set_ylim(-0.04 * top, top)
        bits.legend(loc="best", fontsize=7)


def _draw_line(axes: Axes, curve: Curve, per: float, of: str, colour: str, marker: str) -> None:
    """A line through the values that the grid lists, and small points at those that bisection came to."""
    for listed in (False, True):
        shares = []
        for value in curve.values(listed=listed):
            points = curve.at(value, listed=listed)
            hits, positions = (
                sum(getattr(each, of) for each in points),
                sum(each.positions for each in points),
            )
            shares.append((value, per * hits / positions))
        across, up = zip(*shares, strict=True)
        if listed:
            axes.plot(across, up, f"{marker}-", color=colour, markersize=4, linewidth=1, label=curve.label)
        else:
            axes.plot(across, up, ".", color=colour, markersize=3)

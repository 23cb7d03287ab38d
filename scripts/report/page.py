"""The page table.md: banner, heading, the finding's table, the rest, controls, legend.

The same data give the same bytes; between two builds only the last column of the second table varies.
"""

from __future__ import annotations

from collections.abc import Sequence

from scripts.records.cell import Cell
from scripts.records.grid import ControlReading, Grid
from scripts.report import figures, frames
from scripts.report.ablation import quoted
from scripts.report.controls import banner, in_words
from scripts.report.entries import Entry
from scripts.report.markdown import markdown_table
from scripts.verdict.rates import at_most
from scripts.verdict.sessions import sessions_differ, share_at_most

LEGEND = """\
- **text, logprobs**: k/N, the largest group of N replays whose transcripts (what was said) or logprobs files
  (what was computed) are the same bytes, as `sha256sum` bears out; 0 where no two agree. Equal text over
  unequal logprobs is luck, not determinism. 3/3 proves little: three equal replays leave a chance of a flip
  in a replay of over 60 % compatible. Look at the bound.
- **divergence**: what parts replays, the gravest that occurs. `harness`: the prompt differed before the model
  did; `unclassified`: ids differ, no logprobs to say why; `wide`: by a margin that no tie explains;
  `first-block`: at a near-tie within the first {first_block} tokens; `near-tie`: at one later;
  `logits-only`: equal text over unequal bits; `none observed`: nothing differed in what was run, which
  proves nothing about the rest.{classes}
{kernels}\
- **flips per 1,000**: how often, at a context that replays share, one of them takes another token than most,
  per 1,000 tokens compared, with a two-sided 95 % interval. `0 (≤ x)`: none was seen, and x is the one-sided
  95 % bound given these sessions. It speaks of these prompts on this machine. **interval of flips**: with five
  sessions or more these are resampled, since starts may be unlike; with fewer it is the exact Poisson interval,
  taking sessions as alike.
- **another text**: where no flip was seen, the largest share of sessions that may give another text than these
  did (one-sided, Clopper and Pearson, on sessions). It takes this text for the usual one: did starts choose among
  several that are as likely, one session fewer would count, and five would leave 53 % for 45 %.
{flags}\
{parts}\
{cause}\
{volatile}\
{distance}\
- **first difference**: tokens the episode had generated before the earliest difference, and by how many nat
  the reference preferred its token there; `≥`: the other token was not among the candidates listed.{steps}
- **noise p99**: how far the logprob of the chosen token, and the margin between the best two, differ between
  replays in one context, nat, 99th percentile. **exact ties**: contexts whose best two are exactly equal.
- **score**: correct answers over questions asked, unanswered counted as wrong. **tokens a replay**: those it
  generated; CV is their standard deviation over their mean, swing (max − min) / min.
- **forced**: a recorded trajectory is fed back several times, and at so many of its positions the bits were
  not equal in all passes: a free replay that was short or lucky shows nothing. **deterministic**: yes only
  where free replays and every forced pass are equal in bits; `–` where too little was looked at.
- **near-ties explain**: the flips per 1,000 tokens that margins and noise of the forced passes predict, with
  a 95 % interval, on the forced trajectory's contexts; `contradicted`: what was seen there lies outside;
  `not testable`: no flip seen and none predicted, say (the CSV has the reason).
- **replays that differ**: the share of replays whose text is not the reference's, which is of the largest equal
  group, with an exact 95 % interval by session: replays of one start count together as one look.
{question}\
- **tokens/s**: the one column that varies from build to build: read it as a rough size.
"""

KERNELS = """\
- **computed by**: what the engine said, at its first session's start, that it chose: for the products of the experts,
  for all other products, for attention, for sums over GPUs, and vLLM's model runner (it has two, which differ in bits).
  `unquantised`: torch's own products. `ggml`: llama.cpp's, which picks by shape and does not say. `?`: not read.
"""
STEPS = """
  In brackets the same in steps of bf16 logits of that size, where the recorded differences tell it (9 in 10 sure)."""
FLAGS = """\
- **flags of the variant**: what became of the arguments and variables in which a variant differs from `base`.
  `honoured`: the engine chose something otherwise, or bits differ by more than chance (named is which).
  `accepted, without effect`: its log says that it does not heed them, or all that it chose and all bits are as
  `base` has them, as far as bits show. `refused`: it did not start, and the last error in its log names them.
  `accepted, effect not told`: nothing else was seen than chance or `base` by itself can make.
"""
CLASSES = """
  `refusal`: an answer was refused or filtered; `not-greedy`: a replay's id was not its most likely one, so that no tie
  is to be looked for. `harness` too: unlike back ends behind one address, or unlike prompts that a server made of one
  conversation."""
PARTS = """\
- **parts**: where replays part. `within`: inside a session, which is one start of the engine; `never within, 1 of 5
  sessions apart`: never inside one, and the replays of one start are not those of the others, so a start decides;
  `first replay of each session`: the first after a start is unlike all others, which are equal. Transcript and
  logprobs are compared.
"""

CAUSE = """\
- **what a start decided**: a kernel or size that the engine resolved to, a cache that was empty or kept, or a parameter
  of a kernel that was tuned: sessions with one value of it never have unlike bits. The chance is that of this fact, or
  one that would do so as rarely, to fit bits that are dealt out to the sessions by chance.
"""

VOLATILE = """\
- **volatile in the harness**: which tool's results, or the prompt, part the replays, of which kind that is, and in
  how many places; results/leak.md has the bytes.
"""
DISTANCE = """\
- **distance**: the cell was fed the trajectory of another one, once, and what it computed was held against what that
  one did, position by position: at how many both have the same most likely id, and a lower bound of the
  Kullback-Leibler divergence in the mean over positions. A cell that repeats itself need not be near;
  results/compare/ has more.
"""
QUESTION = """\
- **question**: replays went on, a session at a time, until a sequential probability ratio test whose unit is the
  replay, taking sessions as alike, told whether the rate of flips is at most r0 or at least r1, or the budget was
  spent; with the other rate the chance of such an answer is at most that given; between the two either may come. It
  speaks of first flips: of how many replays flip at all.
"""


TIED = 0.5  # of a replay's tokens; in bf16 a few in a hundred positions are exact ties


def render_page(grid: Grid, entries: Sequence[Entry], readings: Sequence[ControlReading]) -> str:
    """The whole of table.md."""
    parts = [
        banner(readings) + "# The same bytes twice at temperature 0?",
        grid.heading,
        markdown_table(frames.finding(entries)),
        *_tied(entries),
        *_bounds(entries),
        *_readings(entries),
        *_differently(entries),
        *_refused(entries),
        "## Each cell",
        markdown_table(frames.details(entries)),
        *_causes(entries),
        *_questions(entries),
        *_notes(entries),
        "## Controls",
        "\n".join(f"- {in_words(reading)}" for reading in readings) or "This grid names none.",
        "## How to read this",
        legend(grid, entries),
    ]
    return "\n\n".join(parts) + "\n"


def legend(grid: Grid, entries: Sequence[Entry]) -> str:
    """How to read the table; of a question only where a cell has one."""
    asked = QUESTION if _questions(entries) else ""
    parts = PARTS if frames.parted(entries) else ""
    cause = CAUSE if frames.caused(entries) else ""
    volatile = VOLATILE if frames.leaked(entries) else ""
    found = [entry.summary for entry in entries if entry.summary]
    steps = any(each.margin_steps is not None for cell in found for each in cell.differences)
    return LEGEND.format(
        first_block=grid.first_block,
        parts=parts,
        classes=CLASSES if any(_of_server(cell) for cell in found) else "",
        cause=cause,
        volatile=volatile,
        question=asked,
        distance=DISTANCE if frames.distance_column(entries) else "",
        kernels=KERNELS if any(cell.kernels for cell in found) else "",
        steps=STEPS if steps else "",
        flags=FLAGS if any(frames.flag_verdicts(entries).values()) else "",
    ).rstrip()


def _of_server(cell: Cell) -> bool:
    """Whether a cell's class is one of those that servers of somebody else's bring, or may be by them."""
    kinds = {reading.kind for reading in cell.readings}
    return cell.class_ in ("refusal", "not-greedy") or bool(
        kinds & {"several back ends", "server's prompt changed"}
    )


def _bounds(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"- {entry.name}: at most one flip in {bound.one_flip_in_tokens:,} tokens{_of_sessions(entry.summary)}"
        for entry in entries
        if entry.summary and not (rate := entry.summary.flips_per_1000_tokens).events
        if (bound := at_most(0, rate.exposure))
    ]
    return _list("Where no flip was seen (each bound 95 %):", lines)


def _tied(entries: Sequence[Entry]) -> list[str]:
    """Rows of one text in which most positions are exact ties: logits that say nothing, whatever they repeat."""
    lines = [
        f"- {entry.name}: at {found.exact_ties:,} of {found.tokens.mean:,.0f} tokens the two likeliest ids are exactly"
        " as likely"
        for entry in entries
        if (found := entry.summary) and found.exact_ties and found.text_identical == found.replays
        if found.exact_ties >= TIED * found.tokens.mean
    ]
    return _list(
        "**The engine does not compute these models, and their rows say nothing of its kernels:**", lines
    )


def _differently(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"- {entry.name}: {line}"
        for entry in entries
        if entry.summary
        for line in entry.summary.resolved_differently or ()
    ]
    return _list("Sessions of one cell whose engines resolved otherwise:", lines)


def _refused(entries: Sequence[Entry]) -> list[str]:
    lines = [f"- {entry.name}: {quoted(entry.refused)}" for entry in entries if entry.refused]
    return _list("Refused by the engine at its start:", lines)


def _of_sessions(found: Cell) -> str:
    """What is said of the sessions of a cell without a flip: those seen, and where all gave one text, others."""
    given = f" given {'this session' if found.sessions == 1 else f'these {found.sessions} sessions'}"
    if not found.hashes or sessions_differ(found.hashes):
        return given
    share = figures.percent(share_at_most(0, found.sessions))
    return f"{given}; at most {share} of sessions give another text"


def _causes(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"- {entry.name}: {figures.cause(entry.summary.cause)}"
        for entry in entries
        if entry.summary and entry.summary.cause
    ]
    return _list("What a start decided, where it tells the bits of sessions (seen, not proven):", lines)


def _questions(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"- {entry.name}: {entry.summary.question.sentence}"
        for entry in entries
        if entry.summary and entry.summary.question
    ]
    return _list("Questions:", lines)


def _readings(entries: Sequence[Entry]) -> list[str]:
    lines = [
        f"- {entry.name}: {reading.sentence}"
        for entry in entries
        if entry.summary
        for reading in entry.summary.readings
    ]
    return _list("What else was read of a deployment:", lines)


def _notes(entries: Sequence[Entry]) -> list[str]:
    return _list(
        "Notes:", [f"- `{each.planned.path}`: {each.planned.note}" for each in entries if each.planned.note]
    )


def _list(title: str, lines: Sequence[str]) -> list[str]:
    return ["\n".join([f"{title}\n", *lines])] if lines else []

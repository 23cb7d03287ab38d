"""Pruned experts at more bits against all experts at fewer: paired by question, on quality and reliability."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from scripts.common.errors import DataError
from scripts.records.cell import Cell
from scripts.records.grid import Grid
from scripts.records.manifest import Manifest
from scripts.records.settings import EngineKind
from scripts.records.transcript import Turn
from scripts.report import figures
from scripts.report.entries import Entry, read_entry
from scripts.report.figures import DASH
from scripts.report.frames import SPEED
from scripts.report.markdown import markdown_table
from scripts.verdict.paired import exact_interval, mcnemar, mean_interval, pass_power
from scripts.verdict.replays import find_replays, find_sessions
from scripts.workload.spec import load_workload
from scripts.workload.workloads import Workload

LEVEL = 0.05
GGUF_KINDS = ("llama-cpp-python", "llamacpp")
Question = tuple[str, int]

CANNOT_SAY = (
    "**What this cannot say.** Which of the two is better at anything but these questions, on this machine; and where "
    "no difference was shown, that there is none: the interval says how large it may be. Replays that are equal to the "
    "byte are one answer seen several times, and tell nothing of reliability beyond it. What pruning costs depends on "
    "how many experts there are, how alike they are and what they were trained for: a small model of 32 experts that "
    "plays one game says little of one with hundreds."
)

LEGEND = """\
- **score**: right answers over questions asked, an unanswered one counted as wrong, with its 95 % interval: Student's
  over the charts' scores, since questions of one chart stand or fall together; where all charts score alike, the exact
  binomial one over the questions.
- **all right**: replays in which every question was answered right; **charts all right**: of all charts of all replays.
- **worst**: the score of the worst replay. **pass^k**: the chance that k replays of a question are all right, with k
  the number of replays; where replays are equal it is the score.
- **tokens a replay**: generated, with their coefficient of variation over replays. **tokens/s** varies from build to
  build. **weights**: the file that the engine reads, 10⁶ bytes.
- **text, logprobs**: k/N, the largest group of N replays that are the same bytes; **divergence** as in the table.
- **only pruned, only other**: questions that one alone answered right, in more than half of its replays. **chance**: of
  so uneven a split if both were alike (McNemar's exact test, two-sided; it takes questions as independent).
- **difference**: the pruned score minus the other's, in points of 100, with Student's 95 % interval over the charts.
- **reliability**: the same exact test over charts, each answered right throughout, in all replays, or not.
"""


@dataclass(frozen=True)
class Answers:
    """What a cell answered: in how many of its replays each question was right; and each replay's right questions."""

    entry: Entry
    workload: Workload
    replays: list[set[Question]]
    weights: int | None

    @property
    def found(self) -> Cell:
        """cell.json."""
        assert self.entry.summary is not None
        return self.entry.summary

    @property
    def questions(self) -> list[Question]:
        """All that is asked."""
        return [
            (each.name, question.number) for each in self.workload.scenarios for question in each.questions
        ]

    def right(self, question: Question) -> int:
        """In how many replays the question was answered right."""
        return sum(question in replay for replay in self.replays)

    def usually(self, question: Question) -> bool:
        """Whether it was in more than half of them."""
        return 2 * self.right(question) > len(self.replays)

    def charts(self) -> list[float]:
        """The score of each chart, over all replays."""
        return [
            fmean(self.right((each.name, question.number)) / len(self.replays) for question in each.questions)
            for each in self.workload.scenarios
        ]

    def throughout(self) -> list[bool]:
        """Whether each chart was answered right throughout, in all replays."""
        return [score == 1 for score in self.charts()]


def make_reap(grid: Grid, results: Path, workloads: Path) -> str:
    """The page reap.md from the cells' summaries, transcripts and manifests under `results`."""
    paths = list(dict.fromkeys(path for each in grid.reap for path in (each.pruned, *each.against)))
    cells = {cell.path: cell for cell in grid.cells}
    entries = {path: read_entry(cells[path], results, partial=grid.partial) for path in paths}
    answers = {
        path: read_answers(entry, results, workloads) for path, entry in entries.items() if entry.summary
    }
    parts = ["# Fewer experts at more bits, or all of them at fewer?", grid.heading]
    pairs = [
        (answers[each.pruned], answers[path])
        for each in grid.reap
        for path in each.against
        if each.pruned in answers and path in answers
    ]
    if pairs:
        parts.append("\n".join(f"- {verdict(pruned, other)}" for pruned, other in pairs))
    parts.append(markdown_table(_cells([entries[path] for path in paths], answers)))
    parts.append(CANNOT_SAY)
    if pairs:
        parts += ["## Question by question", markdown_table([_pair(*pair) for pair in pairs])]
    return "\n\n".join([*parts, "## How to read this", LEGEND.rstrip()]) + "\n"


def read_answers(entry: Entry, results: Path, workloads: Path) -> Answers:
    """A cell's answers; DataError where its sessions were asked another workload than the file now holds."""
    workload = load_workload(workloads / f"{entry.planned.workload}.yaml")
    folder = results / "cells" / entry.planned.path
    sessions = find_sessions(folder)
    for session in sessions:
        asked = session.record.workload
        if asked is not None and asked.sha256 != workload.sha256:
            raise DataError(
                f"the session was asked another workload than {workload.name} is now",
                where=session.where,
                remedy=f"run the cell again: snakemake --cores 1 -R run_session -- {folder}/cell.json",
            )
    replays = []
    for replay in find_replays(sessions):
        given = [(turn.scenario, turn.answer) for turn in Turn.read_lines(replay.transcript)]
        replays.append({(name, int(each.question)) for name, each in given if each and each.correct})
    settings = sessions[0].record.settings
    manifest = results / "quants" / entry.planned.model / entry.planned.precision / "manifest.json"
    return Answers(entry, workload, replays, _weights(manifest, settings.kind if settings else None))


def _weights(manifest: Path, kind: EngineKind | None) -> int | None:
    """Bytes of the weights that the engine reads; None where there is no manifest."""
    if not manifest.is_file():
        return None
    ending = ".gguf" if kind in GGUF_KINDS else ".safetensors"
    return sum(each.size for each in Manifest.read(manifest).files if each.path.endswith(ending))


def verdict(pruned: Answers, other: Answers) -> str:
    """One sentence on quality and one on reliability."""
    mine, theirs = pruned.entry.name, other.entry.name
    difference, interval, chance, _ = _quality(pruned, other)
    words = _points(difference, interval)
    sure = interval is not None and (interval[0] > 0 or interval[1] < 0) and chance <= LEVEL
    if sure:
        quality = f"`{mine}` answers {'more' if difference > 0 else 'fewer'} questions right than `{theirs}`"
    else:
        quality = f"no difference in quality between `{mine}` and `{theirs}` is shown"
    only, others = _split(pruned.throughout(), other.throughout())
    reliable = mcnemar(only, others)
    if reliable <= LEVEL:
        more = f"`{mine if only > others else theirs}` answers more charts right throughout"
    else:
        more = "none in reliability is shown" if not sure else "in reliability no difference is shown"
    charts = figures.count(len(pruned.workload.scenarios), "chart")
    return (
        f"On {len(pruned.questions)} questions about {charts} {quality} "
        f"({words} points, chance {figures.tiny(chance)}); {more} "
        f"({sum(pruned.throughout())} charts against {sum(other.throughout())}, chance {figures.tiny(reliable)})."
    )


def _quality(
    pruned: Answers, other: Answers
) -> tuple[float, tuple[float, float] | None, float, tuple[int, int]]:
    """Difference of the scores, its interval over charts, the exact test's chance, and the split questions."""
    differences = [mine - theirs for mine, theirs in zip(pruned.charts(), other.charts(), strict=True)]
    mine, theirs = ([each.usually(question) for question in pruned.questions] for each in (pruned, other))
    only, others = _split(mine, theirs)
    weights = [len(each.questions) for each in pruned.workload.scenarios]
    mean = sum(w * d for w, d in zip(weights, differences, strict=True)) / sum(weights)
    return mean, mean_interval(differences), mcnemar(only, others), (only, others)


def _split(one: list[bool], other: list[bool]) -> tuple[int, int]:
    pairs = list(zip(one, other, strict=True))
    return pairs.count((True, False)), pairs.count((False, True))


def _pair(pruned: Answers, other: Answers) -> dict[str, str]:
    difference, interval, chance, (only, others) = _quality(pruned, other)
    both = sum(pruned.usually(each) and other.usually(each) for each in pruned.questions)
    mine, theirs = _split(pruned.throughout(), other.throughout())
    return {
        "pruned": pruned.entry.name,
        "other": other.entry.name,
        "both right": str(both),
        "only pruned": str(only),
        "only other": str(others),
        "neither": str(len(pruned.questions) - both - only - others),
        "chance": figures.tiny(chance),
        "difference (95 %)": _points(difference, interval),
        "reliability: charts only pruned, only other": f"{mine}, {theirs}",
        "chance of that": figures.tiny(mcnemar(mine, theirs)),
    }


def _points(difference: float, interval: tuple[float, float] | None) -> str:
    words = f"{100 * difference:+.1f}"
    return words if interval is None else f"{words} ({100 * interval[0]:+.1f} to {100 * interval[1]:+.1f})"


def _cells(entries: list[Entry], answers: dict[str, Answers]) -> list[dict[str, str]]:
    rows = []
    for entry in entries:
        row = {"cell": entry.name}
        each = answers.get(entry.planned.path)
        if each is None:
            rows.append(row | {"score (95 %)": str(entry.not_run)})
            continue
        found, asked, replays = each.found, len(each.questions), len(each.replays)
        right = [each.right(question) for question in each.questions]
        score = sum(right) / (asked * replays)
        usually = sum(map(each.usually, each.questions))
        low, high = mean_interval(each.charts()) or exact_interval(usually, asked)
        whole = [replay for replay in each.replays if len(replay) == asked]
        charts = sum(
            all((scenario.name, question.number) in replay for question in scenario.questions)
            for replay in each.replays
            for scenario in each.workload.scenarios
        )
        row["score (95 %)"] = (
            f"{figures.percent(score)} ({figures.percent(max(low, 0))} to {figures.percent(min(high, 1))})"
        )
        row["all right"] = f"{len(whole)}/{replays}"
        row["charts all right"] = f"{charts}/{replays * len(each.workload.scenarios)}"
        row["worst"] = figures.percent(min(map(len, each.replays)) / asked)
        row["pass^k"] = f"{figures.percent(pass_power(right, replays, replays))} (k = {replays})"
        row["tokens a replay"] = f"{found.tokens.mean:,.0f} (CV {figures.percent(found.tokens.cv)})"
        row["weights"] = DASH if each.weights is None else f"{each.weights / 10**6:,.1f}"
        row["text"] = figures.k_of_n(found.text_identical, found.replays)
        row["logprobs"] = figures.k_of_n(found.logprobs_identical, found.replays)
        row["divergence"] = found.class_
        row["quantised"] = entry.quantised or DASH
        row[SPEED] = figures.significant(found.tokens_per_second)
        rows.append(row)
    return rows

"""The page of a rehearsal, results/rehearsal.md: what starts, what does not and with which words, before weights are
pulled."""

from __future__ import annotations

from collections import Counter

from scripts.common.words import count
from scripts.records.rehearsal import Rehearsal, RehearsedCell, StandIn
from scripts.report.figures import DASH, kernel_words
from scripts.report.markdown import markdown_table

LEGEND = """\
- **starts**: the engine started and answered. Drawn weights say noise, and of the grid's own question, whether the same
  bytes come twice, a rehearsal says nothing.
- **refused**: the engine ended by itself before it was ready, with the sentence below. **fails**: it broke off
  otherwise, also for want of memory.
- **no engine**, **no weights**: its environment or image, or the stand-in, could not be had. **no stand-in**: none is
  named in `config/models.yaml`. **not run**: this machine cannot. **not reached**: the rehearsal ended before it.
- **memory**: GPU memory of the weights on a card, GiB, by the engine's log: of a few layers, so it says nothing of the
  room for all of them.
- **computed by**: what the engine said that it chose, at the stand-in's widths and format. A kernel that is chosen by
  the number of layers, or by a format that the stand-in does not have, may be another with the weights themselves.
"""


def render(found: Rehearsal) -> str:
    """The page."""
    parts = [
        f"# Rehearsal of the grid `{found.grid}`",
        "A rehearsal starts every cell once, with a drawn checkpoint of a few layers in place of weights that would be "
        "pulled: the same engine, arguments and number format, one short replay.",
        _summary(found),
    ]
    if tried := [each for each in found.cells if each.outcome != "not run"]:
        parts.append(markdown_table([_row(each) for each in tried]))
    if said := [_said(each) for each in found.cells if each.said and each.outcome != "not run"]:
        parts += ["## What was said", "\n".join(dict.fromkeys(said))]
    if ignored := [_ignored(each) for each in found.cells if each.ignored]:
        parts += ["## Without effect, by the engine's log", "\n".join(ignored)]
    if waiting := [each for each in found.cells if each.outcome == "not run"]:
        parts += ["## Not run here", *_not_run(found, waiting)]
    if found.stand_ins:
        parts += ["## What stood in", markdown_table([_stand_in(each) for each in found.stand_ins])]
    return "\n\n".join([*parts, "## How to read this", LEGEND])


def _summary(found: Rehearsal) -> str:
    counts = Counter(each.outcome for each in found.cells)
    cards = Counter(found.gpus)
    machine = ", ".join(f"{number} × {name}" for name, number in cards.items()) or "no GPU"
    said = ", ".join(f"{number} {outcome}" for outcome, number in counts.items())
    hosts = dict.fromkeys(
        f"{each.engine} as {each.started_as}" for each in found.cells if each.started_as is not None
    )
    parts = [f"{count(len(found.cells), 'cell')}: {said}. Machine: {machine}."]
    if hosts:
        parts.append(
            f"**Containers were not started**: {', '.join(hosts)}, a process with the container's arguments laid over "
            "its own. What another version of the engine says is not rehearsed by it."
        )
    if found.commit:
        parts.append(f"Commit {found.commit[:12]}.")
    return " ".join(parts)


def _names(each: RehearsedCell) -> dict[str, str]:
    name = each.precision if each.variant == "base" else f"{each.precision}, {each.variant}"
    return {"model": each.model, "precision": name, "engine": each.engine}


def _row(each: RehearsedCell) -> dict[str, str]:
    words = kernel_words(each.kernels) if each.kernels else {}
    return {
        **_names(each),
        "outcome": each.outcome,
        "start, s": DASH if each.start_seconds is None else f"{each.start_seconds:.0f}",
        "memory": DASH if each.gpu_memory_gib is None else f"{each.gpu_memory_gib:.1f}",
        "tokens": DASH if each.tokens is None else f"{each.tokens:,}",
        "computed by": "; ".join(f"{part} {word}" for part, word in words.items()) or DASH,
    }


def _said(each: RehearsedCell) -> str:
    return f"- {each.path}: {each.outcome}: {each.said}"


def _ignored(each: RehearsedCell) -> str:
    return f"- {each.path}: " + "; ".join(f"`{name}`: {said}" for name, said in each.ignored.items())


def _not_run(found: Rehearsal, waiting: list[RehearsedCell]) -> list[str]:
    by = {
        kind: f"arguments of {kind} engines by the parser of {version}"
        for kind, version in found.parser.items()
    }
    parts = [
        f"Looked at instead: {'; '.join(by.values())}. An argument that is taken may still be refused at the start, "
        "and one that another version refuses may be taken."
        if by
        else "No parser of these engines' arguments is here."
    ]
    rows = [
        {**_names(each), "why": each.said or DASH, "arguments": each.flags or "no parser here"}
        for each in waiting
    ]
    images = dict.fromkeys(f"- {each.engine}: {each.image}" for each in waiting if each.image)
    return [*parts, *(["\n".join(images)] if images else []), markdown_table(rows)]


def _stand_in(each: StandIn) -> dict[str, str]:
    return {
        "model": each.model,
        "precision": each.precision,
        "served": each.weights,
        "unlike the weights' own format": each.unlike or DASH,
    }

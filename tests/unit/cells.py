"""Synthetic cells in the real file format, for the tests of verdicts and reports."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import importlib
import io
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from scripts.common.command import call
from scripts.common.errors import run_command
from scripts.records.transcript import Answer, FinishReason, Turn, TurnLogprobs

ROOT = Path(__file__).resolve().parents[2]
Top = list[tuple[int, float]]


@dataclass(frozen=True)
class Part:
    """One turn as a test plants it: the prompt's ids, the generated ids, what was known at each."""

    prompt: list[int]
    ids: list[int]
    chosen: list[float]
    top: list[Top]
    results: list[str] = field(default_factory=list)
    answer: Answer | None = None
    reason: FinishReason = "stop"


PlantedReplay = Mapping[str, Sequence[Part]]


def usual_top(token: int, margin: float = 2.0) -> Top:
    """Five candidates: `token` at -0.1 nat, then others `margin`, `margin` + 1, … below it."""
    return [(token, -0.1)] + [(100_000 + n, -0.1 - margin - n) for n in range(4)]


def part(
    prompt: Sequence[int],
    ids: Sequence[int],
    *,
    tops: Mapping[int, Top] | None = None,
    shifts: Mapping[int, float] | None = None,
    results: Sequence[str] = (),
    answer: Answer | None = None,
    reason: FinishReason = "stop",
) -> Part:
    """A turn with usual candidates; `tops` replaces those of an index, `shifts` adds nat to the first."""
    top = [list((tops or {}).get(index, usual_top(token))) for index, token in enumerate(ids)]
    for index, shift in (shifts or {}).items():
        token, logprob = top[index][0]
        top[index][0] = (token, logprob + shift)
    chosen = [dict(each).get(token, each[0][1]) for token, each in zip(ids, top, strict=True)]
    return Part(list(prompt), list(ids), chosen, top, list(results), answer, reason)


def answered(question: int, correct: bool) -> Answer:
    """The answer of a turn."""
    return Answer(question=question, value="7", correct=correct)


def _lines(replay: PlantedReplay) -> tuple[str, str]:
    said, computed = [], []
    for scenario, parts in replay.items():
        for number, each in enumerate(parts):
            turn = Turn(
                scenario=scenario,
                turn=number,
                appended_ids=each.prompt,
                output_ids=each.ids,
                finish_reason=each.reason,
                text=" ".join(str(token) for token in each.ids),
                tool_calls=[],
                tool_results=each.results,
                answer=each.answer,
            )
            said.append(turn.line())
            logprobs = TurnLogprobs(scenario=scenario, turn=number, chosen=each.chosen, top=each.top)
            computed.append(logprobs.line())
    return "".join(said), "".join(computed)


def write_cell(
    folder: Path,
    sessions: Sequence[Sequence[PlantedReplay]],
    *,
    logprobs: bool = True,
    listed: bool = False,
    records: Sequence[Mapping[str, Any]] = (),
    **record: Any,
) -> Path:
    """Write a cell of that many sessions and replays and return its folder.

    `listed`: session.json lists the files with their sha256, as a session does; else it has only what a
    summary needs. `record` is laid over every session.json, `records[n]` over that of session n.
    """
    for number, replays in enumerate(sessions):
        home = folder / f"session-{number:02d}"
        home.mkdir(parents=True)
        files = []
        for count, replay in enumerate(replays):
            entry: dict[str, Any] = {"replay": count, "logprobs": None}
            for kind, text in zip(("transcript", "logprobs"), _lines(replay), strict=True):
                if kind == "transcript" or logprobs:
                    name = f"replay-{count:02d}.{kind}.jsonl"
                    (home / name).write_text(text, encoding="utf-8")
                    entry[kind] = {"path": name, "sha256": hashlib.sha256(text.encode()).hexdigest()}
            files.append(entry)
        tokens = sum(len(each.ids) for replay in replays for parts in replay.values() for each in parts)
        session: dict[str, Any] = {
            "model": "tinychart-dense",
            "precision": "bf16",
            "engine": "llama-cpp-python-0.3.36",
            "variant": "base",
            "session": number,
            "tokens": tokens,
            "seconds": tokens / 100,
        }
        if listed:
            session |= {"replays": len(replays), "files": files}
        session |= record
        session |= records[number] if number < len(records) else {}
        (home / "session.json").write_text(json.dumps(session), encoding="utf-8")
    return folder


def command(name: str, *arguments: str, apart: bool = False) -> subprocess.CompletedProcess[str]:
    """Run `python -m scripts.NAME`: its exit code and what it wrote to stderr.

    `apart`: in a process of its own, as a person does; else in this one, which takes a tenth of the time.
    """
    if apart:
        line = [sys.executable, "-m", f"scripts.{name}", *arguments]
        return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    errors = io.StringIO()
    main = importlib.import_module(f"scripts.{name}").main
    try:
        with contextlib.redirect_stderr(errors):
            run_command(lambda: call(main, [*arguments]))
    except SystemExit as ended:
        return subprocess.CompletedProcess([name, *arguments], int(ended.code or 0), "", errors.getvalue())
    finally:
        gc.enable()
    raise AssertionError("the command did not end")

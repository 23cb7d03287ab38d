"""The two files of a replay that are hashed: what was said (transcript), what was computed (logprobs).

One canonical JSON object a line, one line a turn, in the order in which they happened, and deterministic
content only: `sha256sum` over them bears out every k/N of the table.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from scripts.common.errors import DataError
from scripts.common.files import canonical_json

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class Turn:
    """One generation by the model in an episode, with what was added to the prompt before it.

    `appended_ids`: token ids added since the last generation; at turn 0 the whole prompt.
    `output_ids`: token ids generated, the stop id included. `tool_calls`: `{"name", "arguments"}`.
    `answer`: `{"question", "value", "correct"}`, or None where the turn recorded no answer.
    """

    scenario: str
    turn: int
    appended_ids: list[int]
    output_ids: list[int]
    finish_reason: FinishReason
    text: str
    tool_calls: list[dict[str, Any]]
    tool_results: list[str]
    answer: dict[str, Any] | None


@dataclass(frozen=True)
class TurnLogprobs:
    """The logprobs of one turn, in nat.

    `chosen`: one for each output id. `top`: for each position the k most likely `[id, logprob]`,
    best first, equal ones by id.
    """

    scenario: str
    turn: int
    chosen: list[float]
    top: list[list[tuple[int, float]]]


def turn_line(record: Turn | TurnLogprobs) -> str:
    """The record's line, newline included."""
    return canonical_json(vars(record)) + "\n"


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    try:
        stream = open(path, encoding="utf-8", newline="\n")
    except FileNotFoundError as error:
        raise DataError(
            "the file is missing",
            where=str(path),
            remedy="run its session again: snakemake -R SESSION_JSON -- results/table.md",
        ) from error
    with stream:
        number = 0
        for number, line in enumerate(stream, start=1):
            where = f"{path}:{number}"
            if not line.endswith("\n"):
                raise DataError("the file is torn: its last line has no end", where=where)
            try:
                value = json.loads(line)
            except ValueError as error:
                raise DataError(f"the line is not JSON ({error})", where=where) from error
            if not isinstance(value, dict):
                raise DataError("the line is not a JSON object", where=where)
            yield number, value
        if number == 0:
            raise DataError("the file is empty", where=str(path))


def _read(path: Path, record: type[Any]) -> Iterator[Any]:
    expected = set(record.__dataclass_fields__)
    for number, value in _lines(path):
        if set(value) != expected:
            missing, unknown = sorted(expected - set(value)), sorted(set(value) - expected)
            raise DataError(
                f"the line's keys are wrong (missing {missing}, unknown {unknown})",
                where=f"{path}:{number}",
            )
        yield record(**value)


def read_transcript(path: Path) -> Iterator[Turn]:
    """The turns of a transcript, one at a time; DataError names a missing, empty or torn file."""
    return _read(path, Turn)


def read_logprobs(path: Path) -> Iterator[TurnLogprobs]:
    """The turns of a logprobs file, one at a time; DataError names a missing, empty or torn file."""
    return _read(path, TurnLogprobs)

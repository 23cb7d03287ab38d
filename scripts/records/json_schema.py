"""JSON Schemas of the files that the workflow writes, generated from their records: scripts/records/schema/."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from pathlib import Path
from typing import Any

import msgspec

from scripts.records.base import FileRecord, Record
from scripts.records.cell import Cell, CellNotDone
from scripts.records.engine import Adopted, EngineRecord
from scripts.records.forced import Forced, PassTurn
from scripts.records.grid import Controls, Grid
from scripts.records.machine import Code
from scripts.records.manifest import Evicted, Manifest
from scripts.records.question import QuestionRound
from scripts.records.rehearsal import Rehearsal
from scripts.records.session import SessionRecord
from scripts.records.sweep import SweepRecord
from scripts.records.transcript import Turn, TurnAnswered, TurnLogprobs, TurnTiming

FOLDER = Path("scripts/records/schema")

FILES: dict[str, type[Record]] = {
    "adopted": Adopted,
    "cell": Cell,
    "cell-not-done": CellNotDone,
    "commit": Code,
    "controls": Controls,
    "engine": EngineRecord,
    "evicted": Evicted,
    "forced": Forced,
    "grid": Grid,
    "manifest": Manifest,
    "pass-line": PassTurn,
    "question-round": QuestionRound,
    "rehearsal": Rehearsal,
    "session": SessionRecord,
    "sweep": SweepRecord,
    "logprobs-line": TurnLogprobs,
    "timing-line": TurnTiming,
    "answers-line": TurnAnswered,
    "transcript-line": Turn,
}


def field_docs(kind: type[Any]) -> dict[str, str]:
    """The docstring under each field of a record, inherited ones included, by the field's name in Python."""
    found: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        if not (issubclass(each, Record) and each.__module__.startswith("scripts.records")):
            continue
        (tree,) = ast.parse(textwrap.dedent(inspect.getsource(each))).body
        assert isinstance(tree, ast.ClassDef)
        for field, text in zip(tree.body, tree.body[1:], strict=False):
            if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
                match text:
                    case ast.Expr(value=ast.Constant(value=str(said))):
                        found[field.target.id] = said
    return found


def schema(kind: type[Record]) -> dict[str, Any]:
    """The JSON Schema of a record, each field described by its docstring, a file's `version` among its keys."""
    _, parts = msgspec.json.schema_components([kind])
    for each in _classes(kind, parts):
        part, docs = parts[each.__name__], field_docs(each)
        for field in msgspec.structs.fields(each):
            if field.name in docs:
                part["properties"][field.encode_name]["description"] = docs[field.name]
    whole = parts.pop(kind.__name__)
    if issubclass(kind, FileRecord):
        whole["properties"]["version"] = {"const": kind.VERSION, "description": "the version of this form"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **whole,
        **({"$defs": parts} if parts else {}),
    }


def render(kind: type[Record]) -> str:
    """The schema as its file has it."""
    return json.dumps(schema(kind), indent=2, ensure_ascii=False) + "\n"


def _classes(kind: type[Record], parts: dict[str, Any]) -> list[type[Record]]:
    known = {each.__name__: each for each in _subclasses(Record)}
    return [kind, *(known[name] for name in parts if name in known and known[name] is not kind)]


def _subclasses(kind: type[Record]) -> list[type[Record]]:
    return [each for child in kind.__subclasses__() for each in (child, *_subclasses(child))]

"""Records: what they read, what they refuse, what they write, and that their schemas are those committed."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scripts.common.configs import load_yaml
from scripts.common.errors import DataError
from scripts.common.files import canonical_json
from scripts.records.base import FileRecord, Record
from scripts.records.cell import Cell, CellNotDone, read_cell
from scripts.records.engine import EngineRecord
from scripts.records.engines import EngineEntry, Engines, Variant
from scripts.records.forced import Forced, ModeForced, ModeNotRun
from scripts.records.grid import Config, GridFile
from scripts.records.json_schema import FILES, FOLDER, field_docs, render
from scripts.records.machine import Code
from scripts.records.manifest import Evicted
from scripts.records.models import Model, Precision
from scripts.records.session import SessionRecord
from scripts.records.transcript import Turn, TurnLogprobs

SESSION = {
    "model": "m",
    "precision": "p",
    "engine": "e",
    "variant": "base",
    "session": 0,
    "tokens": 3,
    "seconds": 1,
}
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
IDS = st.integers(0, 2**31 - 1)


def kinds() -> list[type[Record]]:
    def below(kind: type[Record]) -> list[type[Record]]:
        return [each for child in kind.__subclasses__() for each in (child, *below(child))]

    found = dict.fromkeys(below(Record))  # one that has two parents is found twice
    return [each for each in found if each.__module__.startswith("scripts.records.")]


@pytest.mark.parametrize("name", FILES)
def test_the_committed_schemas_are_those_of_the_records(root: Path, name: str) -> None:
    committed = (root / FOLDER / f"{name}.schema.json").read_text(encoding="utf-8")
    assert committed == render(FILES[name]), "write them again: python -m scripts.write_schemas"
    Draft202012Validator.check_schema(json.loads(committed))


def test_no_schema_is_left_of_a_record_that_is_gone(root: Path) -> None:
    assert {path.name for path in (root / FOLDER).iterdir()} == {f"{name}.schema.json" for name in FILES}


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
def test_every_field_says_what_it_holds(kind: type[Record]) -> None:
    docs = field_docs(kind)
    assert [field.name for field in msgspec.structs.fields(kind) if field.name not in docs] == []


def test_names_of_records_are_unique() -> None:
    names = [kind.__name__ for kind in kinds()]
    assert len(names) == len(set(names))


@given(
    text=st.text(st.characters(exclude_categories=["Cs"])),
    chosen=st.lists(FLOATS, max_size=4),
    ids=st.lists(IDS, max_size=4),
)
def test_a_line_is_read_back_as_it_was_written(
    tmp_path_factory: pytest.TempPathFactory, text: str, chosen: list[float], ids: list[int]
) -> None:
    path = tmp_path_factory.mktemp("lines") / "replay.jsonl"
    turn = Turn(
        scenario=text,
        turn=0,
        appended_ids=ids,
        output_ids=ids,
        finish_reason="stop",
        text=text,
        tool_calls=[],
        tool_results=[text],
        answer=None,
    )
    path.write_text(turn.line() * 2, encoding="utf-8", newline="\n")
    assert list(Turn.read_lines(path)) == [turn, turn]
    logprobs = TurnLogprobs(
        scenario=text,
        turn=0,
        chosen=chosen,
        top=[[(each, value)] for each, value in zip(ids, chosen, strict=False)],
    )
    path.write_text(logprobs.line(), encoding="utf-8", newline="\n")
    (again,) = TurnLogprobs.read_lines(path)
    assert again.line() == logprobs.line() == canonical_json(json.loads(logprobs.line())) + "\n"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_json_has_no_text_for_is_not_written(value: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        TurnLogprobs(scenario="s", turn=0, chosen=[value], top=[]).line()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "the file is empty"),
        ('{"scenario":"s"', "its last line has no end"),
        ("no json\n", "the line is no TurnLogprobs"),
        ('{"scenario":"s","turn":0,"chosen":[]}\n', "`top`"),
        ('{"scenario":"s","turn":0,"chosen":[],"top":[],"more":1}\n', "`more`"),
        ('{"scenario":"s","turn":0,"chosen":["x"],"top":[]}\n', "`$.chosen[0]`"),
        ("[" * 100_000 + "\n", "the line is no TurnLogprobs"),
    ],
)
def test_a_line_that_no_session_writes_is_refused_with_file_and_line(
    tmp_path: Path, line: str, said: str
) -> None:
    path = tmp_path / "replay-00.logprobs.jsonl"
    path.write_text(line, encoding="utf-8")
    with pytest.raises(DataError) as error:
        list(TurnLogprobs.read_lines(path))
    assert said in error.value.what and str(path) in (error.value.where or "") and error.value.remedy


def test_a_file_is_refused_by_file_key_and_remedy(tmp_path: Path) -> None:
    path = tmp_path / "session.json"
    for content, where, what in (
        ({**SESSION, "tokens": "3"}, f"{path}: tokens", "Expected `int`"),
        ({**SESSION, "machine": {"gpus": [{}]}}, f"{path}: machine.gpus[0]", "`name`"),
        ({key: SESSION[key] for key in SESSION if key != "model"}, str(path), "`model`"),
        ([], str(path), "not a JSON object"),
        ({**SESSION, "version": 2}, str(path), "version 2"),
        ({**SESSION, "version": "1"}, f"{path}: version", "not a number"),
    ):
        path.write_text(json.dumps(content), encoding="utf-8")
        with pytest.raises(DataError) as error:
            SessionRecord.read(path)
        assert error.value.where == where and what in error.value.what and error.value.remedy
    path.unlink()
    with pytest.raises(DataError, match="the file is missing") as error:
        SessionRecord.read(path)
    assert error.value.remedy == SessionRecord.REMEDY


def test_a_file_says_its_version_and_may_say_more_than_is_read(tmp_path: Path) -> None:
    path = tmp_path / "evicted.json"
    Evicted(files=1, bytes=2).write(path)
    assert json.loads(path.read_text()) == {"bytes": 2, "files": 1, "version": 1}
    path.write_text('{"bytes": 2, "files": 1, "who": "knows"}')
    assert Evicted.read(path) == Evicted(files=1, bytes=2)
    assert Code.parse({"commit": "a", "dirty": False}, "here").commit == "a"


def test_a_summary_of_version_0_gets_the_status_of_its_modes() -> None:
    share = {"positions": 0, "share": 0.0}
    mode = {
        "passes": 2,
        "positions": 9,
        "unequal_bits": share,
        "other_argmax": share,
        "under_noise": share,
        "noise": {"chosen": None, "margin": {"p50": 0.0, "p99": 0.5, "max": 1.0}},
        "exact_ties": 0,
        "margins": {"p0.1": 0.1, "p1": 0.2, "p10": 0.3, "p50": 0.4},
    }
    found = Forced.parse(
        {
            "passes": 2,
            "trajectory": {"session": 0, "replay": 0, "scenarios": ["s"]},
            "modes": {"prefill": mode, "decode": {"not_run": "it cannot"}},
        },
        "forced.json",
    )
    assert isinstance(found.modes.decode, ModeNotRun) and found.modes.decode.not_run == "it cannot"
    assert not isinstance(found.modes.prefill, ModeNotRun)
    short = found.modes.prefill.short()
    assert isinstance(short, ModeForced)
    assert (short.noise_p99.chosen, short.noise_p99.margin) == (None, 0.5)
    assert Forced.parse(found.as_file(), "forced.json") == found


def test_a_server_s_version_is_read_where_older_files_have_it() -> None:
    engine = {
        "engine": "e",
        "kind": "openai",
        "runtime": "external",
        "image": None,
        "digest": None,
        "version": "0.25.1",
    }
    assert EngineRecord.parse(engine, "here").server_version == "0.25.1"
    session = SessionRecord.parse({**SESSION, "engine_record": engine}, "here")
    assert session.engine_record is not None and session.engine_record.server_version == "0.25.1"
    assert SessionRecord.parse(session.as_file(), "here") == session


def test_a_cell_that_was_not_run_is_another_record(tmp_path: Path) -> None:
    path = tmp_path / "cell.json"
    path.write_text('{"status": "failed", "reason": "out of memory"}')
    found = read_cell(path)
    assert isinstance(found, CellNotDone) and found.reason == "out of memory"
    path.write_text('{"status": "done"}')
    with pytest.raises(DataError, match="model") as error:
        read_cell(path)
    assert error.value.remedy == Cell.REMEDY
    path.write_text('{"status": "lost"}')
    with pytest.raises(DataError, match="lost"):
        read_cell(path)


def test_records_of_config_take_what_is_shipped_and_have_the_keys_of_its_schemas(root: Path) -> None:
    models = msgspec.convert(load_yaml(root / "config/models.yaml"), dict[str, Model])
    assert models["tinychart-dense"].precisions["q8_0"].from_ == "bf16"
    engines = msgspec.convert(load_yaml(root / "config/engines.yaml"), Engines)
    assert engines.variants["base"].changes == []
    msgspec.convert(load_yaml(root / "config/config.yaml"), Config)
    for path in (root / "config/grids").glob("*.yaml"):
        msgspec.convert(load_yaml(path), GridFile)
    schemas = {
        name: load_yaml(root / f"config/schemas/{name}.schema.yaml")
        for name in ("models", "engines", "config")
    }
    definitions = {**schemas["models"]["$defs"], **schemas["engines"]["$defs"]}
    computed = {"tokenizer_path"}  # config.yaml's, laid over the entry
    for kind, properties in (
        (Model, definitions["model"]["properties"]),
        (Precision, definitions["precision"]["properties"]),
        (EngineEntry, definitions["engine"]["properties"]),
        (Variant, definitions["variant"]["properties"]),
        (Config, schemas["config"]["properties"]),
    ):
        assert {field.encode_name for field in msgspec.structs.fields(kind)} - computed == set(properties)


def test_every_record_of_a_file_says_its_version() -> None:
    for kind in FILES.values():
        if issubclass(kind, FileRecord):
            assert json.loads(render(kind))["properties"]["version"]["const"] == kind.VERSION

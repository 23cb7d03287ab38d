"""What a summary refuses, each by its command: it names the file and writes nothing."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import DataError
from scripts.records.cell import Cell, read_cell
from scripts.verdict.agreement import first_unequal
from scripts.verdict.summary import summarise
from tests.unit.cells import ROOT, command, part, write_cell

SAID = "replay-01.transcript.jsonl"
COMPUTED = "replay-01.logprobs.jsonl"
ENGINE = {"engine": "e", "kind": "vllm", "runtime": "docker", "image": "vllm", "digest": None}
ASKED = {"name": "tinychart"}
RESOLVED = {"version": "1", "arguments": {}, "context_between_turns": "kept"}


def cell_of_four(folder: Path, **options: Any) -> Path:
    replay = {"a": [part([1], [5, 6, 7]), part([2], [8])], "b": [part([1, 2], [9, 9])]}
    other = replay | {"b": [part([1, 2], [9, 8])]}
    return write_cell(folder / "cell", [[replay, other], [replay, replay]], **options)


def run(cell: Path, *more: str, apart: bool = False) -> subprocess.CompletedProcess[str]:
    return command("summarise_cell", str(cell), "--output", str(cell / "cell.json"), *more, apart=apart)


def test_the_command_writes_the_summary(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path, listed=True)
    done = run(cell, "--first-block", "0", "--tie-margin", "9", apart=True)
    assert (done.returncode, done.stderr) == (0, "")
    found = read_cell(cell / "cell.json")
    assert found == summarise(cell, first_block=0, tie_margin=9)
    assert isinstance(found, Cell)
    assert found.class_ == "near-tie"


def test_the_same_cell_gives_the_same_bytes(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    run(cell, apart=True)
    before = (cell / "cell.json").read_bytes()
    run(cell, apart=True)
    assert (cell / "cell.json").read_bytes() == before


def test_help() -> None:
    line = [sys.executable, "-m", "scripts.summarise_cell", "--help"]
    assert "--tie-margin" in subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=True).stdout


def test_a_refusal_as_a_person_sees_it(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    (cell / "session-00" / SAID).unlink()
    done = run(cell, apart=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def refused(cell: Path, *words: str) -> None:
    done = run(cell)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in done.stderr
    assert not (cell / "cell.json").exists()


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", [SAID, COMPUTED])
def test_a_missing_file(tmp_path: Path, name: str, listed: bool) -> None:
    cell = cell_of_four(tmp_path, listed=listed)
    (cell / "session-00" / name).unlink()
    refused(cell, f"session-00/{name}", "missing")


@pytest.mark.parametrize("name", [SAID, COMPUTED])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    cell = cell_of_four(tmp_path)
    (cell / "session-00" / name).write_text("")
    refused(cell, f"session-00/{name}", "empty")


@pytest.mark.parametrize("listed", [True, False])
@pytest.mark.parametrize("name", [SAID, COMPUTED])
@pytest.mark.parametrize("left", [30, -1, -30])
def test_a_torn_file(tmp_path: Path, name: str, left: int, listed: bool) -> None:
    cell = cell_of_four(tmp_path, listed=listed)
    path = cell / "session-00" / name
    path.write_bytes(path.read_bytes()[:left])
    refused(cell, f"session-00/{name}", "torn")


@pytest.mark.parametrize("name", [SAID, COMPUTED])
def test_a_file_torn_between_two_lines(tmp_path: Path, name: str) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-00" / name
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refused(cell, f"session-00/{name}")


def test_text_torn_between_two_scenarios(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path, logprobs=False)
    path = cell / "session-00" / SAID
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    refused(cell, f"session-00/{SAID}", "scenario 'b' is missing")


def test_a_file_that_is_not_what_was_recorded(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path, listed=True)
    path = cell / "session-01" / SAID
    path.write_text(path.read_text().replace("[8]", "[9]"))
    refused(cell, f"session-01/{SAID}", "changed")


def test_logprobs_of_another_length(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-00" / COMPUTED
    lines = path.read_text().splitlines()
    turn = json.loads(lines[0])
    turn["chosen"].pop()
    path.write_text("\n".join([json.dumps(turn), *lines[1:]]) + "\n")
    refused(cell, f"session-00/{COMPUTED}:1", "2 chosen", "3 ids")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("chosen", [0.1, None, 0.1], "candidates and no logprob"),
        ("chosen", [0.1, "x", 0.1], "Expected `float | null`, got `str` - at `$.chosen[1]`"),
        ("chosen", [0.1, math.inf, 0.1], "malformed"),
        ("chosen", 3, "Expected `array`, got `int` - at `$.chosen`"),
        ("top", [[], [], []], "no candidates"),
        ("top", [[[1, 1e308], [2, -1e308]]] * 3, "not finite"),
        ("top", [[[1, -2.0], [2, -1.0]]] * 3, "not in order"),
        ("turn", 1, "not line 1"),
    ],
)
def test_logprobs_that_no_session_writes(tmp_path: Path, key: str, value: object, words: str) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-00" / COMPUTED
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(lines[0]) | {key: value}), *lines[1:]]) + "\n")
    refused(cell, f"session-00/{COMPUTED}:1", words)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("output_ids", [5, 6.5, 7]),
        ("output_ids", [5, -6, 7]),
        ("output_ids", None),
        ("appended_ids", ["1"]),
        ("turn", 3),
        ("scenario", None),
        ("answer", {"value": 1}),
    ],
)
def test_a_transcript_that_no_session_writes(tmp_path: Path, key: str, value: object) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-00" / SAID
    lines = path.read_text().splitlines()
    path.write_text("\n".join([json.dumps(json.loads(lines[0]) | {key: value}), *lines[1:]]) + "\n")
    refused(cell, f"session-00/{SAID}:1")


def test_a_session_under_another_number(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    (cell / "session-00").rename(cell / "session-02")
    refused(cell, "the folder is number 2", "says session 0")


def test_a_session_that_did_not_run_is_no_refusal(tmp_path: Path) -> None:
    """Sessions that run side by side do not end in order, and a table may be made of what there is."""
    cell = cell_of_four(tmp_path)
    before = summarise(cell, first_block=16, tie_margin=0.05)
    shutil.rmtree(cell / "session-00")
    after = summarise(cell, first_block=16, tie_margin=0.05)
    assert (before.sessions, after.sessions) == (2, 1)


def test_a_gap_in_the_replays(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    for kind in ("transcript", "logprobs"):
        (cell / "session-01" / f"replay-00.{kind}.jsonl").unlink()
    refused(cell, "session-01/replay-00.transcript.jsonl", "missing")


def test_a_replay_short_of_the_number_recorded(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path, replays=3)
    refused(cell, "session-00/replay-02.transcript.jsonl", "missing")


def test_a_replay_that_its_session_does_not_know(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path, listed=True)
    for kind in ("transcript", "logprobs"):
        text = (cell / "session-01" / f"replay-00.{kind}.jsonl").read_text()
        (cell / "session-01" / f"replay-07.{kind}.jsonl").write_text(text)
    refused(cell, "replay-07.transcript.jsonl", "does not know replay 7")


def test_logprobs_in_some_replays_only(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    for count in (0, 1):
        (cell / "session-01" / f"replay-0{count}.logprobs.jsonl").unlink()
    refused(cell, "session-01/replay-00.logprobs.jsonl", "missing")


def test_a_session_without_its_record(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    (cell / "session-01" / "session.json").unlink()
    refused(cell, "session-01/session.json", "missing")


def test_a_torn_record(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-01" / "session.json"
    path.write_text(path.read_text()[:-5])
    refused(cell, "session-01/session.json", "torn")


@pytest.mark.parametrize(
    ("records", "words"),
    [
        ([{}, {"session": 3}], "session 3"),
        ([{}, {"tokens": "many"}], r"session-01/session.json: tokens: Expected `int`, got `str`"),
        ([{}, {"seconds": -1}], "seconds is -1"),
        (
            [{}, {"files": [{"name": "x"}]}],
            r"session-01/session.json: files\[0\]: .*missing required field `replay`",
        ),
        ([{"questions": 1.5}, {}], "session-00/session.json: questions: Expected `int"),
        ([{"questions": -1}, {}], "questions is -1, but a replay answered 0"),
    ],
)
def test_a_record_that_no_session_writes(
    tmp_path: Path, records: Sequence[Mapping[str, Any]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        summarise(cell_of_four(tmp_path, records=records))


def test_a_record_without_a_key(tmp_path: Path) -> None:
    cell = cell_of_four(tmp_path)
    path = cell / "session-01" / "session.json"
    record = json.loads(path.read_text())
    del record["seconds"]
    path.write_text(json.dumps(record))
    refused(cell, "session-01/session.json", "seconds")


def test_no_folder_no_session_no_replay(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="folder is missing"):
        summarise(tmp_path / "none")
    with pytest.raises(DataError, match="no session"):
        summarise(tmp_path)
    with pytest.raises(DataError, match="no replay"):
        summarise(write_cell(tmp_path / "cell", [[]]))


@pytest.mark.parametrize(
    ("one", "other", "words"),
    [
        ({"precision": "bf16"}, {"precision": "q8_0"}, "precision: 'bf16' in session 0, 'q8_0' in session 1"),
        (
            {"machine": {"gpus": [{"name": "H200", "uuid": "a"}]}},
            {"machine": {"gpus": [{"name": "B200", "uuid": "b"}]}},
            r"machine.gpus\[0\].name: 'H200' in session 0, 'B200' in session 1",
        ),
        ({"machine": {"gpus": [{"name": "H200"}]}}, {"machine": {"gpus": []}}, "machine.gpus"),
        ({"machine": {"cpu": "x"}}, {"machine": {"cpu": "y"}}, "machine.cpu: 'x'"),
        ({"machine": {"driver": "580"}}, {"machine": {"driver": "590"}}, "machine.driver: '580'"),
        (
            {"engine_record": ENGINE | {"digest": "a1"}},
            {"engine_record": ENGINE | {"digest": "b2"}},
            "engine_record.digest: 'a1'",
        ),
        (
            {"engine_record": ENGINE | {"packages": {"numpy": "1"}}},
            {"engine_record": ENGINE | {"packages": {"numpy": "2"}}},
            "engine_record.packages.numpy",
        ),
        (
            {"weights": {"manifest_sha256": "a"}},
            {"weights": {"manifest_sha256": "b"}},
            "weights.manifest_sha256",
        ),
        ({"workload": ASKED | {"sha256": "a"}}, {"workload": ASKED | {"sha256": "b"}}, "workload.sha256"),
        ({"questions": 30}, {"questions": 20}, "questions: 30"),
    ],
)
def test_sessions_that_disagree(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any], words: str
) -> None:
    with pytest.raises(DataError, match=f"the sessions disagree on {words}"):
        summarise(cell_of_four(tmp_path, records=[one, other]))


def test_what_may_differ_between_sessions(tmp_path: Path) -> None:
    gpu = {"name": "H200"}
    records = [
        {
            "machine": {"gpus": [gpu | {"uuid": "a"}]},
            "started": "x",
            "resolved": RESOLVED | {"resolved": {"tuned": 1}},
        },
        {
            "machine": {"gpus": [gpu | {"uuid": "b"}]},
            "started": "y",
            "resolved": RESOLVED | {"resolved": {"tuned": 2}},
        },
    ]
    assert summarise(cell_of_four(tmp_path, records=records)).sessions == 2


def test_what_only_one_session_records_is_no_disagreement(tmp_path: Path) -> None:
    assert summarise(cell_of_four(tmp_path, records=[{"workload": ASKED | {"sha256": "a"}}])).sessions == 2


def test_first_unequal_names_the_path() -> None:
    assert first_unequal({"a": [1, {"b": 2}]}, {"a": [1, {"b": 3}]}, "x") == ("x.a[1].b", 2, 3)
    assert first_unequal({"a": 1}, {"a": 1, "b": None}, "x") is None
    assert first_unequal([1], [1, 2], "x") == ("x", [1], [1, 2])

"""Workload files: those that come with the project, a user's own, and every way to get one wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from scripts.common.errors import ConfigError
from scripts.workload.spec import load_workload
from scripts.workload.workloads import Question

ROOT = Path(__file__).parents[2]
OWN: dict[str, Any] = {
    "name": "own",
    "system": "You read logs.",
    "scenarios": [
        {
            "name": "logs",
            "intro": "There is log.txt.",
            "files": {"log.txt": {"text": "error\nok\nerror\n"}},
            "questions": [
                {"text": "How many errors?", "answer": 2},
                {"text": "How long does it take?", "answer": 1.5, "tolerance": 0.1},
            ],
        }
    ],
}


def written(folder: Path, value: dict[str, Any]) -> Path:
    path = folder / "own.yaml"
    path.write_text(yaml.safe_dump(value))
    return path


@pytest.mark.parametrize("name", ["chartist", "chartist-mini"])
def test_the_benchmark_asks_thirty_different_questions(name: str) -> None:
    workload = load_workload(ROOT / "config" / "workloads" / f"{name}.yaml")
    assert [len(scenario.questions) for scenario in workload.scenarios] == [10, 10, 10]
    assert len({question.text for scenario in workload.scenarios for question in scenario.questions}) == 30
    assert all(question.answer for scenario in workload.scenarios for question in scenario.questions)


def test_an_own_workload_needs_no_code(tmp_path: Path) -> None:
    workload = load_workload(written(tmp_path, OWN))
    assert workload.scenarios[0].questions[0] == Question(1, "How many errors?", "2", None)
    assert workload.scenarios[0].questions[1].is_correct("1.58")


def test_a_file_may_lie_beside_the_workload(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("x")
    OWN["scenarios"][0]["files"] = {"log.txt": {"path": "log.txt"}}
    assert load_workload(written(tmp_path, OWN)).scenarios[0].files == {"log.txt": "x"}
    OWN["scenarios"][0]["files"] = {"log.txt": {"text": "error\nok\nerror\n"}}


def test_the_hash_is_of_what_is_asked(tmp_path: Path) -> None:
    before = load_workload(written(tmp_path, OWN)).sha256
    described = load_workload(written(tmp_path, {**OWN, "description": "other words"})).sha256
    changed = load_workload(written(tmp_path, {**OWN, "system": "You read."})).sha256
    assert before == described != changed


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda q: q.pop("answer"), "question 1 has no `answer`"),
        (lambda q: q.pop("text"), "question 1 has no `text`"),
        (lambda q: q.update(anwser="2"), "anwser"),
        (lambda q: q.update(text="How long does it take?"), "question 2 repeats question 1"),
        (lambda q: (q.clear(), q.update(ask="count_up", first=1, last=2)), "exactly one chart"),
    ],
)
def test_a_wrong_question_is_named(tmp_path: Path, change: Any, words: str) -> None:
    value = yaml.safe_load(yaml.safe_dump(OWN))
    change(value["scenarios"][0]["questions"][0])
    with pytest.raises(ConfigError) as caught:
        load_workload(written(tmp_path, value))
    assert words in str(caught.value) and "own.yaml" in str(caught.value)


def test_a_missing_file_and_a_wrong_name_are_named(tmp_path: Path) -> None:
    value = yaml.safe_load(yaml.safe_dump(OWN))
    value["scenarios"][0]["files"] = {"log.txt": {"path": "none.txt"}}
    with pytest.raises(ConfigError, match=r"there is no file 'none\.txt'"):
        load_workload(written(tmp_path, value))
    with pytest.raises(ConfigError, match="calls itself 'other'"):
        load_workload(written(tmp_path, {**OWN, "name": "other"}))


@pytest.mark.parametrize(
    ("answer", "tolerance", "value", "right"),
    [
        ("415", "0", "415", True),
        ("415", "0", "415.0", True),
        ("415", "0", "414", False),
        ("415", "1", "414", True),
        ("415", None, "415.0", False),
        ("rise", None, " Rise ", True),
        ("none", None, "none.", False),
        ("415", "0", "about 415", False),
        ("415", "0", "nan", False),
    ],
)
def test_an_answer_is_exact_or_within_its_tolerance(
    answer: str, tolerance: str | None, value: str, right: bool
) -> None:
    assert Question(1, "?", answer, tolerance).is_correct(value) is right

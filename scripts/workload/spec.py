"""Reading a workload file: checked, its charts drawn, its answers computed.

A `JsonObject` here is what a user's YAML holds.
"""

from __future__ import annotations

from pathlib import Path

from scripts.common.configs import check_schema, load_yaml
from scripts.common.errors import ConfigError
from scripts.records.base import JsonObject, convert
from scripts.records.settings import Sampling
from scripts.workload.charts import Chart, ChartSpec, draw_chart
from scripts.workload.questions import KINDS, ask_text, check_question
from scripts.workload.requests import read_requests
from scripts.workload.workloads import Question, Scenario, Workload
from scripts.workload.workspace import Limits

MAX_TOKENS = 1024  # ids a generation may have, where nobody says


def load_workload(path: Path) -> Workload:
    """Read and check a workload file, or a file of requests; ConfigError names file, place and remedy."""
    if path.suffix != ".yaml":
        return _of_requests(path, path.stem, {})
    raw = load_yaml(path)
    check_schema(raw, "workload", str(path))
    if raw["name"] != path.stem:
        raise ConfigError(
            f"the workload calls itself {raw['name']!r}",
            where=f"{path}: name",
            remedy=f"name it {path.stem!r}",
        )
    if "requests" in raw:
        return _of_requests(path.parent / raw["requests"], raw["name"], raw)
    scenarios = tuple(_scenario(entry, path, i) for i, entry in enumerate(raw["scenarios"]))
    names = [scenario.name for scenario in scenarios]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two scenarios are called {name!r}", where=f"{path}: scenarios")
    limits = raw.get("limits", {})
    return Workload(
        name=raw["name"],
        system=raw["system"].strip(),
        scenarios=scenarios,
        max_tokens=limits.get("max_tokens", MAX_TOKENS),
        max_turns=limits.get("max_turns", 12),
        limits=Limits(limits.get("file_bytes", 65_536), limits.get("files", 16)),
        sampling=convert(Sampling, raw.get("sampling", {}), str(path)),
    )


def _of_requests(file: Path, name: str, raw: JsonObject) -> Workload:
    """The workload of a file of requests; `raw`: what the workload's own file says, if it has one."""
    max_tokens = raw.get("limits", {}).get("max_tokens", MAX_TOKENS)
    return Workload(
        name=name,
        system="",
        scenarios=(),
        max_tokens=max_tokens,
        max_turns=1,
        limits=Limits(0, 0),
        requests=read_requests(file, max_tokens),
        sampling=convert(Sampling, raw.get("sampling", {}), str(file)),
    )


def _scenario(entry: JsonObject, path: Path, index: int) -> Scenario:
    where = f"{path}: scenarios[{index}]"
    files, charts = {}, {}
    for name, given in entry["files"].items():
        if "chart" in given:
            charts[name] = draw_chart(ChartSpec(**given["chart"]))
            files[name] = charts[name].csv()
        elif "path" in given:
            source = path.parent / given["path"]
            if not source.is_file():
                raise ConfigError(
                    f"there is no file {given['path']!r}",
                    where=f"{where}.files.{name}",
                    remedy="paths count from the workload's folder",
                )
            files[name] = source.read_text("utf-8")
        else:
            files[name] = given["text"]
    questions: list[Question] = []
    seen: dict[str, int] = {}
    for number, raw in enumerate(entry["questions"], start=1):
        question = _question(raw, number, charts, f"{where}.questions[{number - 1}]")
        if question.text in seen:
            raise ConfigError(
                f"question {number} repeats question {seen[question.text]}: {question.text!r}",
                where=where,
                remedy="ask each question once in a scenario",
            )
        seen[question.text] = number
        questions.append(question)
    return Scenario(entry["name"], entry["intro"].strip(), files, tuple(questions))


def _question(raw: JsonObject, number: int, charts: dict[str, Chart], where: str) -> Question:
    if "ask" in raw:
        if len(charts) != 1:
            raise ConfigError(
                "`ask` needs a scenario with exactly one chart",
                where=where,
                remedy="write `text` and `answer`",
            )
        chart = next(iter(charts.values()))
        given = check_question(
            chart,
            raw["ask"],
            {key: value for key, value in raw.items() if key not in ("ask", "tolerance")},
            where,
        )
        kind = KINDS[raw["ask"]]
        tolerance = raw.get("tolerance", "0" if kind.is_price else None)
        return Question(number, ask_text(raw["ask"], given), kind.answer(chart, given), _text(tolerance))
    if "text" not in raw or "answer" not in raw:
        missing = "answer" if "text" in raw else "text"
        raise ConfigError(
            f"question {number} has no `{missing}`", where=where, remedy="give `text` and `answer`, or `ask`"
        )
    return Question(number, raw["text"].strip(), str(raw["answer"]), _text(raw.get("tolerance")))


def _text(tolerance: object) -> str | None:
    return None if tolerance is None else str(tolerance)

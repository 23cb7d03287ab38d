"""The table by its commands, from cells in the real file format."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.common.files import write_json
from scripts.records.cell import CandidatePair, Difference, Predicted, Ties
from scripts.records.figures import Interval, Rate, Share
from scripts.records.forced import CellForced, ModeForced, ModeNotRun, NoiseP99, PassTurn
from scripts.records.grid import fed_folder
from scripts.records.manifest import Manifest, WeightsSource
from scripts.records.question import Budget, QuestionFound
from scripts.report import figures
from scripts.report.controls import BEGIN, END
from scripts.verdict.forced import pass_file, summarise_forced
from scripts.verdict.rates import at_most
from scripts.verdict.summary import summarise
from tests.unit.cells import answered, command, part, write_cell

ENGINE = "llama-cpp-python-0.3.36"
LONG = list(range(10, 40))


def base(**more: Any) -> dict[str, Any]:
    return {"a": [part([1, 2], LONG, **more), part([3], [4, 5], answer=answered(1, True))]}


def flipped() -> dict[str, Any]:
    return {"a": [part([1, 2], [*LONG[:20], 77]), part([99], [4], answer=answered(1, False))]}


def leaked() -> dict[str, Any]:
    return {"a": [part([1, 2], LONG), part([3, 3], [4, 5], answer=answered(1, True))]}


CASES: dict[tuple[str, str], list[Any]] = {
    ("bf16", "base"): [[base()] * 3, [base()] * 3],
    ("q4_k_m", "base"): [[base(tops={20: [(30, -0.7), (77, -0.8)]})] * 2, [flipped()] * 2],
    ("bf16", "leaky"): [[base(), leaked()], [leaked(), base()]],
}


def planned(precision: str, variant: str, **more: Any) -> dict[str, Any]:
    return {
        "model": "tinychart-dense",
        "architecture": "dense",
        "precision": precision,
        "engine": ENGINE,
        "variant": variant,
        "sessions": 2,
        "replays": 3,
        "status": "run",
        "reason": None,
        "note": None,
    } | more


class Project:
    """A results folder with a grid and its cells, and the commands on it."""

    def __init__(self, folder: Path) -> None:
        self.results = folder / "results"
        self.grid: dict[str, Any] = {
            "grid": "test",
            "heading": "Grid `test`: nothing is pulled, a minute of one core.",
            "first_block": 16,
            "tie_margin": 0.25,
            "partial": False,
            "cells": [planned(precision, variant) for precision, variant in CASES],
            "controls": [{"cell": f"tinychart-dense/bf16/{ENGINE}/leaky", "expect": ["harness"]}],
        }
        for (precision, variant), sessions in CASES.items():
            home = self.cell(precision, variant)
            write_cell(home, sessions, precision=precision, variant=variant, questions=1)
            summarise(home).write(home / "cell.json")
            manifest = Manifest(
                model="tinychart-dense",
                precision=precision,
                files=[],
                bytes=0,
                quantised=f"all as {precision}",
                tensor_types={},
                source=WeightsSource(),
            )
            manifest.write(self.results / "quants" / "tinychart-dense" / precision / "manifest.json")

    def cell(self, precision: str, variant: str) -> Path:
        return self.results / "cells" / "tinychart-dense" / precision / ENGINE / variant

    def change(self, precision: str, variant: str, /, **keys: Any) -> None:
        path = self.cell(precision, variant) / "cell.json"
        write_json(path, json.loads(path.read_text()) | keys)

    def _run(self, name: str, *more: str, apart: bool) -> subprocess.CompletedProcess[str]:
        write_json(self.results / "grid.json", self.grid)
        grid = ("--grid", str(self.results / "grid.json"), "--results", str(self.results))
        return command(name, *grid, *more, apart=apart)

    def table(self, *, apart: bool = False) -> subprocess.CompletedProcess[str]:
        page, values = self.results / "table.md", self.results / "table.csv"
        return self._run("make_table", "--output", str(page), "--csv", str(values), apart=apart)

    def check(self, *, apart: bool = False) -> subprocess.CompletedProcess[str]:
        page, found = self.results / "table.md", self.results / "controls.json"
        return self._run("check_controls", "--table", str(page), "--output", str(found), apart=apart)

    @property
    def page(self) -> str:
        done = self.table()
        assert (done.returncode, done.stderr) == (0, "")
        return (self.results / "table.md").read_text()

    @property
    def rows(self) -> list[dict[str, str]]:
        with open(self.results / "table.csv", newline="") as stream:
            return list(csv.DictReader(stream))


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


def tables(page: str) -> list[list[dict[str, str]]]:
    """The Markdown tables of a page, as rows by column name."""
    found: list[list[dict[str, str]]] = []
    names: list[str] | None = None
    for line in page.splitlines():
        if not line.startswith("|"):
            names = None
            continue
        values = [value.strip() for value in line.strip("|").split("|")]
        if names is None:
            names = values
            found.append([])
        elif not set(line) <= set("|:- "):
            found[-1].append(dict(zip(names, values, strict=True)))
    return found


def test_the_first_table(project: Project) -> None:
    first, second = tables(project.page)
    assert list(first[0]) == [
        "model",
        "precision",
        "text",
        "logprobs",
        "divergence",
        "flips per 1,000 (95 %)",
        "computed by",
    ]
    assert [row["precision"] for row in first] == ["bf16", "q4_k_m", "bf16, leaky"]
    assert [row["text"] for row in first] == ["6/6", "2/4", "2/4"]
    assert [row["logprobs"] for row in first] == ["6/6", "2/4", "4/4"]
    assert [row["divergence"] for row in first] == ["none observed", "near-tie", "harness"]
    assert [row["quantised"] for row in second] == ["all as bf16", "all as q4_k_m", "all as bf16"]
    assert first[0]["flips per 1,000 (95 %)"] == "0 (≤ 16)"
    # 4 × 20 shared, 4 with 2 events at the flip, then 2 × 11 and 2 × 1.
    assert first[1]["flips per 1,000 (95 %)"] == "19 (2.2 to 67)"
    assert len(second) == 3


def test_the_commands_as_a_person_runs_them(project: Project) -> None:
    page = project.page
    for done in (project.table(apart=True), project.check(apart=True)):
        assert (done.returncode, done.stderr) == (0, "")
    assert (project.results / "table.md").read_text() == page
    project.change("bf16", "leaky", **{"class": "none observed"})
    assert project.table(apart=True).returncode == 0
    done = project.check(apart=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert "Traceback" not in done.stderr


def test_the_sentence_of_the_bound(project: Project) -> None:
    # 6 × 32 tokens over 3.00.
    assert (
        "- tinychart-dense bf16: at most one flip in 64 tokens given these 2 sessions; at most 77.6 % of "
        "sessions give another text" in project.page
    )


def test_a_row_most_of_whose_positions_are_exact_ties_is_said_to_be_no_reading(project: Project) -> None:
    assert "does not compute these models" not in project.page
    project.change("bf16", "base", exact_ties=10_000)
    assert project.table().returncode == 0
    assert "- tinychart-dense bf16: at 10,000 of" in project.page


def test_the_figures_of_the_first_table_fit_a_screen(project: Project) -> None:
    lines = [line for line in project.page.split("## Each cell")[0].splitlines() if line.startswith("|")]
    assert max(len(line.rstrip("|").rpartition("|")[0]) for line in lines) <= 105


def test_the_second_table(project: Project) -> None:
    _, (one, flip, leak) = tables(project.page)
    assert list(one)[-1] == "tokens/s, varies"
    assert one["sessions × replays"] == "2 × 3"
    assert (one["architecture"], one["engine"], one["variant"]) == ("dense", ENGINE, "base")
    assert one["first difference: position, margin"] == "–"
    assert flip["first difference: position, margin"] == "20, 0.10"
    assert leak["first difference: position, margin"] == "30, harness"
    assert one["noise p99: chosen / margin"] == "0 / 0"
    assert (one["score"], flip["score"]) == ("100 %", "50 % (0 % to 100 %)")
    assert flip["tokens a replay"] == "27 (CV 18.5 %, swing 45.5 %)"
    assert one["forced: unequal bits"] == "– not run"
    assert (one["deterministic"], flip["deterministic"]) == ("–", "no")
    assert one["near-ties explain: predicted flips"] == "–"
    assert one["tokens/s, varies"] == "100"


def write_pass(folder: Path, argmax: list[int], chosen: list[float]) -> None:
    """One pass in decode over a trajectory of its ids, and its forced.json."""
    (folder / "forced").mkdir(parents=True)
    turn = PassTurn(
        scenario="a",
        turn=0,
        digests=[
            hashlib.sha256(repr(each).encode()).hexdigest()[:16] for each in zip(argmax, chosen, strict=True)
        ],
        margins=[0.5] * len(argmax),
        argmax=argmax,
        chosen=chosen,
    )
    (folder / "forced" / pass_file(0, "decode")).write_text(turn.line(), encoding="utf-8")
    summary = summarise_forced(folder, scenarios=["a"])
    msgspec.structs.replace(summary, transcript_sha256="5" * 64).write(folder / "forced.json")


def test_how_far_a_cell_is_from_the_one_whose_trajectory_it_was_fed_is_a_column(project: Project) -> None:
    assert "distance" not in project.page
    one, other = (f"tinychart-dense/{precision}/{ENGINE}/base" for precision in ("bf16", "q4_k_m"))
    project.grid["compare"] = [[one, other]]
    write_pass(project.cell("bf16", "base"), [10, 11, 12, 13], [-0.1, -0.1, -0.1, -0.1])
    fed = fed_folder(str(project.cell("q4_k_m", "base")), one)
    write_pass(Path(fed), [10, 11, 12, 99], [-0.1, -0.1, -0.2, -3.0])
    page = project.page
    _, (first, second, leaky) = tables(page)
    name = "distance from bf16: top-1, KL ≥ nat"
    # Of the forced id's probability p and q alone: p log(p/q) + (1 - p) log((1 - p) / (1 - q)), in the mean of four.
    p, qs = math.exp(-0.1), (math.exp(-0.2), math.exp(-3.0))
    apart = sum(p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q)) for q in qs) / 4
    assert (first[name], second[name], leaky[name]) == ("–", f"75 %, {figures.significant(apart)}", "–")
    assert "- **distance**: " in page
    row = project.rows[1]
    assert (row["distance_from"], row["distance_mode"]) == (one, "decode")
    assert (row["distance_positions"], row["distance_top1_equal"], row["distance_equal_bits"]) == (
        "4",
        "3",
        "2",
    )
    assert float(row["distance_kl_at_least_mean"]) == pytest.approx(apart)


def test_where_replays_part_is_read_at_a_glance(project: Project) -> None:
    _, (one, flip, leak) = tables(project.page)
    assert one["parts"] == "none seen"
    assert flip["parts"] == "never within, 1 of 2 sessions apart"
    assert leak["parts"] == "within 2 of 2 sessions"
    assert "- **parts**: " in project.page
    row = project.rows[1]
    assert (row["parts"], row["within_pairs"], row["within_equal_bits"]) == ("between", "2", "2")
    assert (row["between_pairs"], row["between_equal_text"]) == ("1", "0")
    assert (row["first_replay_sessions"], row["first_replay_odd"]) == ("0", "0")


def test_what_groups_sessions_as_their_bits_do_is_named(project: Project) -> None:
    assert "What a start decided" not in project.page and "cause" not in project.rows[0]
    sides = [{"values": ["16", "512"], "sessions": [0, 2, 3]}, {"values": ["4"], "sessions": [1, 4]}]
    facts = {"kind": "resolved", "name": "n_ubatch", "parameter": None, "equally": 1, "varied": 3}
    project.change("bf16", "base", cause={**facts, "sides": sides, "chance": 0.1})
    said = (
        "the 3 sessions (0, 2, 3) with n_ubatch 16 or 512 have bits A; the 2 sessions (1, 4) with n_ubatch 4 have bits B; "
        "1 other fact of 3 that vary do so too; by chance alone one would in 10 % of such cells"
    )
    assert f"- tinychart-dense bf16: {said}\n" in project.page
    assert project.rows[0]["cause"] == said


def test_a_cell_judged_before_parts_were_looked_at_shows_a_dash(project: Project) -> None:
    def older(*which: tuple[str, str]) -> None:
        for precision, variant in which:
            path = project.cell(precision, variant) / "cell.json"
            said = json.loads(path.read_text())
            del said["agreement"], said["parts"]
            write_json(path, said | {"version": 1})

    older(("bf16", "base"))
    assert [row["parts"] for row in tables(project.page)[1]] == [
        "–",
        "never within, 1 of 2 sessions apart",
        "within 2 of 2 sessions",
    ]
    older(("q4_k_m", "base"), ("bf16", "leaky"))
    assert all("parts" not in row for row in tables(project.page)[1])
    assert "**parts**" not in project.page
    assert all("parts" not in row and "within_pairs" not in row for row in project.rows)


def test_the_csv_has_full_precision(project: Project) -> None:
    assert project.page
    row = project.rows[1]
    found = summarise(project.cell("q4_k_m", "base"))
    rate = found.flips_per_1000_tokens
    for key in ("rate", "low", "high"):
        assert float(row[f"flips_per_1000_tokens_{key}"]) == getattr(rate, key)
    assert row["flips_per_1000_tokens_exposure"] == "108"
    assert float(row["first_difference_margin"]) == found.differences[0].margin
    assert float(row["tokens_cv"]) == found.tokens.cv
    assert list(row)[-1] == "tokens_per_second"
    assert row["reason"] == ""


def test_the_same_data_give_the_same_bytes(project: Project, tmp_path: Path) -> None:
    elsewhere = Project(tmp_path / "another" / "folder")
    assert project.page == elsewhere.page
    assert (project.results / "table.csv").read_bytes() == (elsewhere.results / "table.csv").read_bytes()
    assert str(tmp_path) not in project.page


def test_speed_changes_only_the_last_column(project: Project) -> None:
    before = project.page.splitlines()
    rows = project.rows
    project.change("bf16", "base", tokens_per_second=7.654)
    after = project.page.splitlines()
    changed = [(old, new) for old, new in zip(before, after, strict=True) if old != new]
    assert len(changed) == 1
    assert changed[0][0].rsplit("|", 2)[0] == changed[0][1].rsplit("|", 2)[0]
    assert changed[0][1].rsplit("|", 2)[1].strip() == "7.7"
    for old, new in zip(rows, project.rows, strict=True):
        assert list(old.values())[:-1] == list(new.values())[:-1]


def test_not_run_is_never_identical(project: Project) -> None:
    project.grid["cells"] += [
        planned("nvfp4", "base", status="planned", reason="needs 4 GPUs | there is none"),
        planned("q8_0", "base"),
    ]
    failed = {"status": "failed", "reason": "the engine died:\n  out of memory"}
    write_json(project.cell("q8_0", "base") / "cell.json", failed)
    page = project.page
    assert "needs 4 GPUs \\| there is none" in page
    first = tables(page.replace("\\|", "/"))[0]
    assert first[3]["divergence"] == "not run (planned): needs 4 GPUs / there is none"
    assert first[4]["divergence"] == "not run (failed): the engine died: out of memory"
    for row in first[3:]:
        assert (row["text"], row["logprobs"], row["flips per 1,000 (95 %)"]) == ("–", "–", "–")
    assert [row["status"] for row in project.rows] == ["done"] * 3 + ["not run"] * 2
    assert project.rows[3]["text_identical"] == ""


SENTENCE = "error: invalid argument: --no-such-argument"
REFUSED = {
    "status": "refused",
    "reason": SENTENCE,
    "refused": {"sentence": SENTENCE, "named": ["no_such_argument"], "ended": "exit status 1"},
}


def test_a_cell_whose_engine_refused_is_never_identical(project: Project) -> None:
    project.grid["cells"].append(planned("bf16", "wrong-flag"))
    control = {"cell": f"tinychart-dense/bf16/{ENGINE}/wrong-flag", "expect": ["refused"]}
    project.grid["controls"].append(control)
    write_json(project.cell("bf16", "wrong-flag") / "cell.json", REFUSED)
    page = project.page
    first, second = tables(page)
    assert (first[3]["divergence"], first[3]["text"], first[3]["computed by"]) == ("refused", "–", "–")
    assert [row["flags of the variant"] for row in second] == ["–", "–", "–", "refused: no_such_argument"]
    assert f"- tinychart-dense bf16, wrong-flag: `{SENTENCE}`" in page
    assert "- **flags of the variant**" in page
    assert (project.rows[3]["status"], project.rows[3]["flags"]) == ("not run", "refused: no_such_argument")
    assert "expected refused, read refused: as expected" in page
    assert project.check().returncode == 0
    control["expect"] = ["none observed"]
    assert "**A control came out otherwise" in project.page
    assert project.check().returncode == 1
    # And one that was to be refused and ran.
    control |= {"cell": f"tinychart-dense/bf16/{ENGINE}/base", "expect": ["refused"]}
    assert project.check().returncode == 1


def test_what_computed_a_cell_and_in_what_its_sessions_differ(project: Project) -> None:
    computed = {"experts": None, "dense": "Machete", "attention": "FA3", "runner": "V2"}
    kernels = computed | {"linear_attention": None, "all_reduce": None}
    project.change("bf16", "base", kernels=kernels, resolved_differently=[])
    line = "attention_backend: FLASH_ATTN in session 0; TRITON_ATTN in session 1"
    project.change("q4_k_m", "base", kernels=kernels | {"runner": "?"}, resolved_differently=[line])
    page = project.page
    first, _ = tables(page)
    assert [row["computed by"] for row in first] == [
        "dense Machete; attention FA3; runner V2",
        "dense Machete; attention FA3; runner ? (**sessions differ**)",
        "–",
    ]
    assert f"- tinychart-dense q4_k_m: {line}" in page
    assert "- **computed by**" in page
    assert [row["kernels_dense"] for row in project.rows] == ["Machete", "Machete", ""]
    assert project.rows[1]["resolved_differently"] == line


def test_a_margin_in_steps_of_the_logits(project: Project) -> None:
    said = json.loads((project.cell("q4_k_m", "base") / "cell.json").read_text())["differences"]
    project.change("q4_k_m", "base", differences=[{**each, "margin_steps": 1.0} for each in said])
    _, (_, flip, _) = tables(project.page)
    assert flip["first difference: position, margin"] == "20, 0.10 (1 step)"
    assert "in steps of bf16 logits" in project.page
    assert project.rows[1]["first_difference_margin_steps"] == "1.0"


def test_a_missing_summary_names_itself(project: Project) -> None:
    project.grid["cells"].append(planned("q8_0", "base"))
    done = project.table()
    assert done.returncode == 1
    assert "q8_0" in done.stderr
    assert "cell.json: the file is missing" in done.stderr
    assert not (project.results / "table.md").exists()


def test_a_partial_table_has_a_row_for_what_is_missing(project: Project) -> None:
    project.grid["partial"] = True
    project.grid["cells"].append(planned("q8_0", "base"))
    (project.cell("bf16", "leaky") / "cell.json").unlink()
    page = project.page
    first = tables(page)[0]
    assert [row["divergence"] for row in first[2:]] == ["not run: no cell.json"] * 2
    assert "expected harness, read not run: no cell.json: not checked" in page
    assert BEGIN not in page
    assert project.check().returncode == 0


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"precision": "q8_0"}, "is of precision 'q8_0'"),
        ({"status": "failed", "model": "x"}, "is of model 'x'"),
    ],
)
def test_a_summary_of_another_cell(project: Project, keys: Mapping[str, Any], words: str) -> None:
    project.change("bf16", "base", **keys)
    done = project.table()
    assert done.returncode == 1
    assert words in done.stderr


@pytest.mark.parametrize("text", ["", '{"status":', "[]", '{"status":"done"}', '{"status":null}', "{}"])
def test_a_torn_summary(project: Project, text: str) -> None:
    (project.cell("bf16", "base") / "cell.json").write_text(text)
    done = project.table()
    assert done.returncode == 1
    assert f"bf16/{ENGINE}/base/cell.json" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_engine_without_logprobs_has_a_dash(project: Project) -> None:
    project.change("bf16", "base", logprobs_identical=None, noise=None, exact_ties=None)
    first, second = tables(project.page)
    assert first[0]["logprobs"] == "–"
    assert (second[0]["noise p99: chosen / margin"], second[0]["exact ties"]) == ("–", "–")


def test_engines_are_told_apart_where_there_are_several(project: Project) -> None:
    project.grid["cells"].append(
        planned("bf16", "base", engine="vllm-0.24.0", status="planned", reason="later")
    )
    first = tables(project.page)[0]
    assert [row["engine"] for row in first] == [ENGINE] * 3 + ["vllm-0.24.0"]


def test_notes_are_printed(project: Project) -> None:
    project.grid["cells"][1]["note"] = "KV cache of 8 bits"
    assert f"- `tinychart-dense/q4_k_m/{ENGINE}/base`: KV cache of 8 bits" in project.page


def test_controls_that_read_right(project: Project) -> None:
    page = project.page
    assert f"- `tinychart-dense/bf16/{ENGINE}/leaky`: expected harness, read harness: as expected" in page
    assert BEGIN not in page
    done = project.check()
    assert (done.returncode, done.stderr) == (0, "")
    written = json.loads((project.results / "controls.json").read_text())
    assert written == {
        "ok": True,
        "controls": [
            {
                "cell": f"tinychart-dense/bf16/{ENGINE}/leaky",
                "expect": ["harness"],
                "found": "harness",
                "ok": True,
            }
        ],
        "version": 1,
    }


def test_a_control_that_reads_otherwise(project: Project) -> None:
    right = project.page
    project.change("bf16", "leaky", **{"class": "none observed"})
    page = project.page
    assert page.startswith(BEGIN)
    assert page == project.page
    assert page.split(END)[1].strip().startswith("# ")
    assert "should read harness; it read none observed" in page
    assert len(tables(page)[0]) == 3
    done = project.check()
    assert done.returncode == 1
    assert "a control came out otherwise" in done.stderr
    assert json.loads((project.results / "controls.json").read_text())["ok"] is False
    assert len(project.rows) == 3
    project.change("bf16", "leaky", **{"class": "harness"})
    assert project.page == right


def test_a_control_that_failed_to_run_is_not_as_expected(project: Project) -> None:
    write_json(project.cell("bf16", "leaky") / "cell.json", {"status": "failed", "reason": "no memory"})
    assert "it read not run (failed): no memory" in project.page
    assert project.check().returncode == 1


def test_a_control_that_is_no_cell_of_the_grid(project: Project) -> None:
    project.grid["controls"][0]["cell"] = f"tinychart-dense/bf16/{ENGINE}/leeky"
    done = project.table()
    assert done.returncode == 1
    assert "did you mean" in done.stderr


def test_a_grid_without_controls(project: Project) -> None:
    project.grid["controls"] = []
    assert "This grid names none." in project.page
    assert project.check().returncode == 0


def test_the_check_wants_the_table_first(project: Project) -> None:
    done = project.check()
    assert done.returncode == 1
    assert "table.md: the file is missing" in done.stderr


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.004349, "0.0043"),
        (0.0996, "0.10"),
        (0.21, "0.21"),
        (9.96, "10"),
        (48.4, "48"),
        (995.0, "1,000"),
        (1234.5, "1,200"),
        (-0.35, "-0.35"),
    ],
)
def test_significant_digits(value: float, text: str) -> None:
    assert figures.significant(value) == text


@pytest.mark.parametrize(("value", "text"), [(0, "0"), (0.0312, "0.031"), (2.44e-6, "2.4e-06"), (3.0, "3.0")])
def test_tiny(value: float, text: str) -> None:
    assert figures.tiny(value) == text


@pytest.mark.parametrize(
    ("share", "text"), [(1, "100 %"), (0.9333, "93.3 %"), (0, "0 %"), (0.00004, "0 %"), (1.5, "150 %")]
)
def test_percent(share: float, text: str) -> None:
    assert figures.percent(share) == text


def difference(position: int, *, margin: float | None, censored: bool = False) -> Difference:
    return Difference(
        session=0,
        replay=1,
        scenario="a",
        turn=0,
        kind="model",
        position=position,
        margin=margin,
        margin_censored=censored,
        class_="near-tie",
        token=1,
        other_token=2,
        other_margin=None,
        other_margin_censored=False,
        candidates=CandidatePair(reference=None, other=None),
    )


def test_first_difference_is_the_one_at_the_smallest_position() -> None:
    near, far = difference(4, margin=0.4, censored=True), difference(1200, margin=None)
    assert figures.position_and_margin([far, near]) == "4, ≥ 0.40"
    assert figures.position_and_margin([far]) == "1,200, –"


def test_one_replay_has_no_rate() -> None:
    assert figures.flips(Rate(events=0, exposure=0, rate=None, low=None, high=None)) == "–"
    assert at_most(0, 0) is None


FORCED = ModeForced(
    passes=5,
    positions=3100,
    unequal_bits=Share(positions=31, share=0.01),
    other_argmax=Share(positions=0, share=0.0),
    under_noise=Share(positions=1, share=1 / 3100),
    noise_p99=NoiseP99(chosen=0.01, margin=0.02),
)
NOT_FORCED = ModeNotRun(not_run="no")


def test_forced_passes_by_mode() -> None:
    assert figures.forced(CellForced(prefill=NOT_FORCED, decode=FORCED)) == "decode 31 of 3,100"
    assert figures.forced(CellForced(prefill=NOT_FORCED, decode=NOT_FORCED)) == "– not run"
    assert figures.forced(None) == "– not run"


def test_near_ties_and_bootstrap() -> None:
    found = Ties(
        near_tie_account="consistent",
        reason="",
        mode="decode",
        predicted_flips_per_1000_tokens=Predicted(rate=1.234, low=0.5, high=2.5),
        observed_flips_per_1000_tokens=None,
        held_out=None,
    )
    assert figures.ties(found) == "consistent: 1.2 (0.50 to 2.5)"
    unknown = msgspec.structs.replace(found, near_tie_account="not testable")
    assert figures.ties(msgspec.structs.replace(unknown, predicted_flips_per_1000_tokens=None)) == "–"
    assert figures.ties(unknown) == "not testable"
    assert figures.ties(None) == "–"
    assert figures.span(Interval(low=0.0, high=2.5)) == "0 to 2.5"
    assert figures.span(None) == "–"


def test_what_is_not_known_is_a_dash() -> None:
    assert (figures.significant(None), figures.percent(None), figures.k_of_n(None, 3)) == ("–", "–", "–")
    assert (figures.count(1, "replay"), figures.count(1200, "replay")) == ("1 replay", "1,200 replays")


ANSWERED = QuestionFound(
    r0=0.1,
    r1=1.0,
    budget=Budget(),
    answer="at least r1",
    after=4,
    replays=6,
    flipped=3,
    evidence=3.5,
    bounds=(-2.9, 2.9),
    spent=False,
    sentence="It is at least r1.",
)


def test_the_answer_to_a_question() -> None:
    assert figures.question(None) == "–"
    assert figures.question(ANSWERED) == "≥ 1 per 1,000, after 4 of 6 replays"
    still = msgspec.structs.replace(ANSWERED, answer=None, after=None, per=1)
    assert figures.question(still) == "open after 6 replays: ≤ 0.1 or ≥ 1 a token"


def test_a_question_has_its_column_its_line_and_its_figures(project: Project) -> None:
    assert "question: flips" not in project.page
    assert "question_r0" not in project.rows[0]
    project.grid["cells"][0]["question"] = {"r0": 0.1, "r1": 1.0, "budget": {}}
    project.change("bf16", "base", question=ANSWERED.as_json())
    page = project.page
    assert "- tinychart-dense bf16: It is at least r1." in page
    assert [row["question: flips"] for row in tables(page)[1]] == [
        "≥ 1 per 1,000, after 4 of 6 replays",
        "–",
        "–",
    ]
    assert [(row["question_answer"], row["question_after"]) for row in project.rows[:2]] == [
        ("at least r1", "4"),
        ("", ""),
    ]


def test_what_forced_passes_say_is_in_the_csv(project: Project) -> None:
    mode = msgspec.structs.replace(FORCED, positions=30, unequal_bits=Share(positions=3, share=0.1))
    forced = CellForced(decode=mode, prefill=NOT_FORCED)
    project.change("bf16", "base", forced=forced.as_json(), deterministic=False)
    assert "decode 3 of 30" in project.page
    row = project.rows[0]
    assert (row["forced_decode_unequal_bits"], row["forced_decode_noise_margin_p99"]) == ("0.1", "0.02")
    assert (row["forced_prefill_not_run"], row["deterministic"]) == ("no", "False")
    assert project.rows[1]["forced_decode_not_run"] == "no forced.json"

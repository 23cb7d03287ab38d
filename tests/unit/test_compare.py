"""Two results side by side: what is compared with what, where cells part, how far apart they are, and what differs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import DataError
from scripts.comparison.along import along, divergence
from scripts.comparison.cells import IncomparableError, compare_cells, read_side
from scripts.comparison.page import render_comparisons
from scripts.comparison.results import compare_results
from scripts.comparison.sources import open_result, pair_cells
from scripts.records.transcript import Candidate
from tests.unit.cells import PlantedReplay, command, part, usual_top, write_cell

PROMPT = [1, 2, 3]


def cell(root: Path, name: str, *sessions: list[PlantedReplay], **said: Any) -> Path:
    return write_cell(root / "results" / "cells" / name, sessions, listed=True, **said)


def replay(*ids: int, prompt: list[int] = PROMPT, **more: Any) -> PlantedReplay:
    return {"one": [part(prompt, ids, **more)], "two": [part(prompt, [5, 6, 7])]}


def distributions(size: int = 6) -> st.SearchStrategy[list[float]]:
    weights = st.lists(st.floats(1e-4, 1.0), min_size=size, max_size=size)
    return weights.map(lambda drawn: [each / sum(drawn) for each in drawn])


def best(probabilities: list[float], count: int) -> list[Candidate]:
    order = sorted(range(len(probabilities)), key=lambda token: (-probabilities[token], token))
    return [(token, math.log(probabilities[token])) for token in order[:count]]


@given(distributions(), distributions(), st.integers(1, 6))
def test_the_divergence_is_a_lower_bound_of_the_true_one(p: list[float], q: list[float], listed: int) -> None:
    true = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert -1e-9 <= divergence(best(p, listed), best(q, listed)) <= true + 1e-9


@given(distributions(), distributions())
def test_of_all_candidates_the_divergence_is_exact(p: list[float], q: list[float]) -> None:
    true = sum(a * math.log(a / b) for a, b in zip(p, q, strict=True))
    assert divergence(best(p, 6), best(q, 6)) == pytest.approx(true, abs=1e-6)


def test_positions_are_counted_and_the_first_unequal_one_is_named() -> None:
    same = (7, -0.1, usual_top(7))
    other = (7, -0.2, [(7, -0.2), (8, -1.0)])
    found = along([(same, same), (same, other), (same, (8, -0.1, usual_top(8)))])
    assert (found.positions, found.top1_equal, found.equal_bits, found.unequal_from) == (3, 2, 1, 1)
    assert found.logprob_change is not None and found.logprob_change.max == pytest.approx(0.1)


def test_cells_are_paired_by_name_then_by_all_but_the_engine() -> None:
    a = dict.fromkeys(("m/bf16/e1/base", "m/int4/e1/base", "m/int4/e2/base", "n/bf16/e1/base"), Path())
    b = dict.fromkeys(("m/bf16/e3/base", "m/int4/e3/base", "o/bf16/e1/base"), Path())
    found = pair_cells(a, b)
    assert found.pairs == [("m/bf16/e1/base", "m/bf16/e3/base")]
    assert found.only_a == ["m/int4/e1/base", "m/int4/e2/base", "n/bf16/e1/base"]
    assert found.only_b == ["m/int4/e3/base", "o/bf16/e1/base"]
    assert pair_cells({"a/b/c/d": Path()}, {"e/f/g/h": Path()}).pairs == [("a/b/c/d", "e/f/g/h")]


def test_the_same_cell_twice_has_the_same_bits(tmp_path: Path) -> None:
    one, other = (cell(tmp_path / side, "m/p/e/v", [replay(1, 2), replay(1, 2)]) for side in "ab")
    found = compare_cells(read_side("m/p/e/v", one), read_side("m/p/e/v", other))
    assert found.sameness == "same bits"
    assert (found.pairs.pairs, found.pairs.equal_text, found.pairs.equal_bits) == (4, 4, 4)
    assert found.partings == [] and found.free is not None
    assert (found.free.positions, found.free.equal_bits) == (5, 5)
    assert "**The same bits** in all replays of both" in page(tmp_path)


def page(root: Path) -> str:
    return render_comparisons(compare_results(root / "a", root / "b"))


def test_the_first_difference_is_told_with_what_both_sides_knew(tmp_path: Path) -> None:
    mine, theirs = {2: [(3, -0.5), (4, -0.75)]}, {2: [(4, -0.5), (3, -1.0)]}
    one = cell(tmp_path / "a", "m/p/e/v", [replay(1, 2, 3, tops=mine)])
    other = cell(tmp_path / "b", "m/p/e/v", [replay(1, 2, 4, 9, tops=theirs)])
    found = compare_cells(read_side("A", one), read_side("B", other))
    assert found.sameness == "other text"
    (parting,) = found.partings
    assert (parting.scenario, parting.position, parting.a, parting.b) == ("one", 2, 3, 4)
    assert parting.known_a is not None and parting.known_b is not None
    assert (parting.known_a.margin_to(4), parting.known_b.margin_to(3)) == ((0.25, False), (0.5, False))
    # Two positions before it and its own, and three of the scenario that does not part.
    assert found.free is not None and (found.free.positions, found.free.top1_equal) == (6, 5)
    assert "after 2 tokens: A took id 3 (logprob -0.500), 0.25 nat before id 4" in page(tmp_path)


def test_replays_that_differ_among_themselves_are_said_to(tmp_path: Path) -> None:
    one = cell(tmp_path / "a", "m/p/e/v", [replay(1, 2), replay(1, 3)])
    other = cell(tmp_path / "b", "m/p/e/v", [replay(1, 2), replay(1, 2)])
    found = compare_cells(read_side("A", one), read_side("B", other))
    assert found.sameness == "text varies"
    assert (found.pairs.pairs, found.pairs.equal_text) == (4, 2)


def test_another_workload_is_refused_by_name(tmp_path: Path) -> None:
    for side, sha256 in (("a", "1" * 64), ("b", "2" * 64)):
        cell(tmp_path / side, "m/p/e/v", [replay(1)], workload={"name": f"asked-{side}", "sha256": sha256})
    found = compare_results(tmp_path / "a", tmp_path / "b")
    assert found.pairs == []
    assert "asked-a (111111111111) and asked-b (222222222222)" in found.refused["m/p/e/v"]
    done = command("compare", str(tmp_path / "a"), str(tmp_path / "b"))
    assert done.returncode == 2 and "nothing could be compared" in done.stderr


def test_other_prompts_are_refused(tmp_path: Path) -> None:
    one = write_cell(tmp_path / "a", [[{"one": [part([1], [2])]}]])
    other = write_cell(tmp_path / "b", [[{"one": [part([9], [2])]}]])
    with pytest.raises(IncomparableError, match="first prompts differ"):
        compare_cells(read_side("A", one), read_side("B", other))


def test_a_prompt_that_parts_later_is_the_harness(tmp_path: Path) -> None:
    parts = [part(PROMPT, [2, 3], results=["x"])]
    one = cell(tmp_path / "a", "m/p/e/v", [{"one": [*parts, part([4], [5])]}])
    other = cell(tmp_path / "b", "m/p/e/v", [{"one": [*parts, part([6], [5])]}])
    found = compare_cells(read_side("A", one), read_side("B", other))
    assert [(each.kind, each.turn) for each in found.partings] == [("harness", 1)]
    assert found.free is not None and found.free.positions == 2


def test_without_logprobs_the_text_is_compared(tmp_path: Path) -> None:
    one, other = (cell(tmp_path / side, "m/p/e/v", [replay(1, 2)], logprobs=False) for side in "ab")
    found = compare_cells(read_side("A", one), read_side("B", other))
    assert found.sameness == "same text" and found.free is None and found.pairs.equal_bits is None
    assert "bits were not recorded" in page(tmp_path)


def test_what_differs_in_engine_and_weights_is_said_the_likeliest_first(tmp_path: Path) -> None:
    for side, driver, backend in (("a", "580.1", "triton"), ("b", "590.2", "cutlass")):
        cell(
            tmp_path / side,
            "m/p/e/v",
            [replay(1)],
            machine={"driver": driver},
            resolved={
                "version": "1",
                "arguments": {},
                "resolved": {"moe_backend": backend, "dtype": "bf16"},
                "context_between_turns": "kept",
            },
        )
    (found,) = compare_results(tmp_path / "a", tmp_path / "b").pairs
    assert [(each.what, each.a, each.b) for each in found.provenance] == [
        ("resolved moe_backend", "triton", "cutlass"),
        ("driver", "580.1", "590.2"),
    ]


def test_packages_of_another_version_are_named_and_what_one_side_does_not_say_is_not_compared(
    tmp_path: Path,
) -> None:
    for side, numpy, room in (("a", "2.4.6", 512), ("b", "2.3.5", None)):
        cell(
            tmp_path / side,
            "m/p/e/v",
            [replay(1)],
            engine_record={
                "version": 1,
                "engine": "e",
                "kind": "llama-cpp-python",
                "runtime": "process",
                "image": None,
                "digest": None,
                "packages": {"numpy": numpy, "gguf": "0.19.0"},
            },
            resolved={
                "version": "1",
                "arguments": {},
                "resolved": {"n_batch": room},
                "context_between_turns": "kept",
            },
        )
    (found,) = compare_results(tmp_path / "a", tmp_path / "b").pairs
    assert [(each.what, each.a, each.b) for each in found.provenance] == [
        ("packages", "numpy 2.4.6", "numpy 2.3.5")
    ]


def test_what_is_no_result_is_refused_with_what_would_be(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken.zip").write_text("no zip")
    for name in ("empty", "broken.zip", "missing"):
        with pytest.raises(DataError, match="provenance.zip"), open_result(tmp_path / name):
            pass


def test_the_figures_come_as_json_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for side in "ab":
        cell(tmp_path / side, "m/p/e/v", [replay(1, 2)])
    assert command("compare", str(tmp_path / "a"), str(tmp_path / "b"), "--format", "json").returncode == 0
    assert json.loads(capsys.readouterr().out)["pairs"][0]["sameness"] == "same bits"


def test_what_cannot_be_fed_is_refused_with_what_is_missing(tmp_path: Path) -> None:
    sides = [str(cell(tmp_path / side, "m/p/e/v", [replay(1, 2)])) for side in "ab"]
    done = command("compare", *sides, "--force")
    assert done.returncode == 1 and "do not say with which settings they ran" in done.stderr
    settings = {
        **dict.fromkeys(("model", "precision", "engine", "variant"), "none"),
        "architecture": "dense",
        "kind": "llama-cpp-python",
        "runtime": "process",
        "arguments": {},
        "environment": {},
        "harness": {},
        "top_logprobs": 5,
    }
    said = {"model": "m", "precision": "p", "engine": "e", "settings": settings}
    sides = [str(cell(tmp_path / side, "m/p/e/v", [replay(1, 2)], **said)) for side in "cd"]
    done = command("compare", *sides, "--force")
    assert done.returncode == 1 and "the weights of m p are not here" in done.stderr
    assert "snakemake --cores 1 results/quants/m/p/manifest.json" in done.stderr


def test_what_refused_to_start_is_not_compared(tmp_path: Path) -> None:
    refusal = {"refused": {"sentence": "no such kernel", "named": [], "ended": "with code 1"}, "files": []}
    one = cell(tmp_path / "a", "m/p/e/v", [replay(1)])
    other = cell(tmp_path / "b", "m/p/e/v", [], **refusal)
    found = compare_results(one, other)
    assert found.pairs == [] and "refused to start: no such kernel" in found.refused["m/p/e/v"]

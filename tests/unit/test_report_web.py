"""The page report.html by its command, from cells in the real file format, and the pure parts behind it."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.files import write_json
from scripts.records.cell import CandidatePair, Difference, DifferenceKind, KnownCandidates
from scripts.records.figures import Rate
from scripts.records.transcript import Turn
from scripts.report.web import ranks
from scripts.report.web.agreement import (
    Lane,
    State,
    condense,
    count_other_bits,
    lay_lanes,
    lay_row,
    positions_states,
    stretches,
)
from scripts.report.web.markup import render_inline, render_markdown, title_of
from scripts.report.web.page import PAIRS
from scripts.report.web.pictures import draw_strip
from scripts.report.web.provenance import rows_of
from scripts.report.web.texts import ENDED, merge_pairs, pair_texts
from scripts.verdict.summary import summarise
from tests.unit.cells import answered, part, write_cell
from tests.unit.test_report_table import LONG, Project, base, flipped, planned

TOKENS = st.lists(st.sampled_from(list(State)), max_size=60).map(lambda each: np.array(each, dtype=np.uint8))


class Report(Project):
    """The cells of the table's tests, and the page that is made of them."""

    def report(self, *pages: Path) -> subprocess.CompletedProcess[str]:
        more = [argument for page in pages for argument in ("--page", str(page))]
        return self._run("make_report", "--output", str(self.results / "report.html"), *more, apart=False)

    def read(self, *pages: Path) -> str:
        done = self.report(*pages)
        assert (done.returncode, done.stderr) == (0, "")
        return (self.results / "report.html").read_text(encoding="utf-8")

    def add(self, precision: str, sessions: Sequence[Sequence[Any]], **more: Any) -> Path:
        self.grid["cells"].append(planned(precision, "base"))
        home = self.cell(precision, "base")
        write_cell(home, sessions, precision=precision, variant="base", questions=1, **more)
        summarise(home).write(home / "cell.json")
        return home


@pytest.fixture
def project(tmp_path: Path) -> Report:
    return Report(tmp_path)


class Elements(HTMLParser):
    """Every element with its attributes, and that each is closed."""

    VOID = frozenset(("meta", "link", "br", "hr", "img"))

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def named(self, tag: str) -> Iterator[dict[str, str | None]]:
        return (attributes for name, attributes in self.found if name == tag)


def test_the_page_is_well_formed_and_names_no_other_address(project: Report) -> None:
    page = project.read()
    elements = Elements(page)
    ids = [attributes["id"] for _, attributes in elements.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    for _, attributes in elements.found:
        for key in ("src", "href", "action", "data", "poster", "srcset"):
            address = attributes.get(key) or "#"
            assert address.startswith(("#", "data:")), address
            if address.startswith("#") and len(address) > 1:
                assert address[1:] in ids
    assert "url(" not in page.replace("url(#", "")
    assert "@import" not in page
    assert set(re.findall(r"https?://[^\s\"'<]+", page)) <= {
        "http://www.w3.org/2000/svg",
        "http://www.w3.org/1999/xlink",
    }


def test_two_makings_write_the_same_bytes(project: Report) -> None:
    assert project.read() == project.read()


def test_rows_are_ranked_and_lead_to_their_cells(project: Report) -> None:
    elements = Elements(project.read())
    hrefs = [attributes.get("href") for attributes in elements.named("a")]
    for number in range(3):
        assert f"#cell-{number}" in hrefs
        assert f"#cell-{number}-from" in hrefs
    assert "#cell-1-texts" in hrefs
    assert "#cell-0-texts" not in hrefs


def test_every_first_difference_is_marked_and_has_its_texts(project: Report) -> None:
    elements = Elements(project.read())
    ids = {attributes.get("id") for _, attributes in elements.found}
    for number, key in enumerate((("bf16", "base"), ("q4_k_m", "base"), ("bf16", "leaky"))):
        cell = summarise(project.cell(*key))
        marks = {f"cell-{number}-mark-{each.session}-{each.replay}-0" for each in cell.differences}
        assert {each for each in ids if each and each.startswith(f"cell-{number}-mark")} == marks
        assert (f"cell-{number}-pair-0" in ids) == bool(marks)


def test_a_flip_shows_both_candidates_with_their_probabilities(project: Report) -> None:
    page = project.read()
    pair = page[page.index('id="cell-1-pair-0"') : page.index('id="cell-1-from"')]
    assert "near-tie at token 20, turn 0, margin 0.10 nat" in pair
    assert "replays 1·0, 1·1" in pair
    assert "49.66 %" in pair
    assert "44.93 %" in pair
    assert "not listed" in pair


def test_at_most_thirty_pairs_of_a_cell_are_shown(project: Report) -> None:
    odd = [{"a": [part([1, 2], [*LONG[:20], 100 + n]), part([3], [4])]} for n in range(PAIRS + 3)]
    project.add("q8_0", [[base(), base(), *odd]])
    page = project.read()
    assert page.count('id="cell-3-pair-') == PAIRS == 30
    assert "Texts at 33 first differences: 30 of 33 pairs" in page
    assert "of a cell at most 30 pairs of texts are shown" in page


def test_a_cell_that_was_not_run_says_so(project: Report) -> None:
    project.grid["cells"].append(planned("nvfp4", "base", status="planned", reason="needs a GPU"))
    page = project.read()
    assert "<strong>not run (planned): needs a GPU</strong>" in page
    assert 'id="cell-3-from"' not in page


def test_a_partial_page_is_made_of_what_exists(project: Report) -> None:
    project.grid["cells"].append(planned("q8_0", "base"))
    assert "the file is missing" in project.report().stderr
    project.grid["partial"] = True
    assert "not run: no cell.json" in project.read()


def test_without_logprobs_the_page_says_so(project: Report) -> None:
    project.add("q8_0", [[base(), {"a": [part([1, 2], [*LONG[:20], 77]), part([99], [4])]}]], logprobs=False)
    page = project.read()
    cell = page[page.index('<article id="cell-3">') :]
    assert "No logprobs were recorded: equal means equal tokens." in cell
    assert "No logprobs were recorded, so there are no margins." in cell
    assert "-margins" not in cell


def test_one_replay_alone_makes_a_page(project: Report) -> None:
    project.add("q8_0", [[base()]])
    assert "One replay alone." in project.read()


def test_a_strip_groups_its_rows_by_session(project: Report) -> None:
    project.add("q8_0", [[base(), base()], [flipped(), flipped()], [base(), base()]])
    page = project.read()
    cell = page[page.index('<article id="cell-3">') :]
    assert "A line parts the sessions." in cell
    assert "<dd>never within, 1 of 3 sessions apart</dd>" in cell.replace("\n", "")
    lanes = [Lane("a", 0, 3)]
    rows = {name: np.array([1, 1, 1], dtype=np.uint8) for name in ("0.0", "0.1", "1.0", "1.1")}
    grouped, plain = (draw_strip("strip", "a strip", lanes, rows, [], sessions) for sessions in ([2], []))
    lines = "var(--faint"
    assert grouped.count(lines) == plain.count(lines) + 1


def test_a_control_that_came_out_otherwise_has_its_banner(project: Report) -> None:
    assert "do not rely on this table" not in project.read()
    project.grid["controls"][0]["expect"] = ["near-tie"]
    page = project.read()
    assert page.index("do not rely on this table") < page.index('id="table"')


def test_files_that_are_not_those_of_cell_json_are_refused(project: Report) -> None:
    home = project.cell("bf16", "base")
    summary = json.loads((home / "cell.json").read_text())
    summary["hashes"][0]["transcript"] = "0" * 64
    write_json(home / "cell.json", summary)
    done = project.report()
    assert done.returncode == 1
    assert "not those that it was made from" in done.stderr
    assert str(home / "cell.json") in done.stderr


def test_what_replays_say_is_text_and_never_markup(project: Report) -> None:
    hostile = '</div><script>alert("x")</script>'
    said = {"a": [part([1, 2], LONG), part([3], [4, 5], results=[hostile], answer=answered(1, True))]}
    other = {"a": [part([1, 2], LONG), part([3], [4, 5], results=["other"], answer=answered(1, True))]}
    project.add("q8_0", [[said, said, other]])
    project.grid["cells"][0]["note"] = hostile
    project.grid["heading"] = hostile
    elements = Elements(project.read())
    assert len(list(elements.named("script"))) == 1


def test_the_page_tells_what_the_sessions_recorded(project: Report) -> None:
    machine = {"cpu": "A Processor", "gpus": [{"name": "A card", "memory_bytes": 1}]}
    record = {
        "machine": machine,
        "engine_record": {
            "engine": "a",
            "kind": "vllm",
            "runtime": "docker",
            "image": "engine@sha256:00",
            "digest": "sha256:00",
            "packages": {"llama": "1"},
        },
        "resolved": {
            "version": "1.2",
            "arguments": {},
            "resolved": {"attention.prefill": "FLASH"},
            "context_between_turns": "kept",
        },
        "weights": {"manifest_sha256": "f" * 64},
        "code": {"commit": "c" * 40, "dirty": False},
    }
    project.add("q8_0", [[base()], [base()]], records=[{"started": "2026-01-01T00:00:00"}], **record)
    cell = project.read().partition('id="cell-3-from"')[2]
    for told in ("A Processor", "A card", "sha256:00", "attention.prefill", "FLASH", "f" * 64, "c" * 40):
        assert told in cell
    for entry in summarise(project.cell("q8_0", "base")).hashes:
        assert entry.transcript in cell
        assert entry.logprobs in cell


def test_further_pages_are_sections_with_sortable_tables(project: Report, tmp_path: Path) -> None:
    page = tmp_path / "leak.md"
    page.write_text(
        "# What leaks?\n\nTwo `ways`, **one** answer.\n\n| cell | swing |\n|:--|:--|\n| a | 47 % |\n"
        "| b \\| c | 2.4 % |\n\n- one\n  more\n- two\n\n## How to read this\n\n- **swing**: so\n"
    )
    text = project.read(page)
    assert '<section id="page-leak">' in text
    assert '<a href="#page-leak">What leaks?</a>' in text
    section = text[text.index('<section id="page-leak">') : text.index('<section id="cells">')]
    assert '<td data-rank="1">47 %</td>' in section
    assert "<td data-rank" in section
    assert "b | c" in section
    assert "<li>one more</li>" in section
    assert section.count("How to read this") == 1
    missing = project.report(tmp_path / "none.md")
    assert missing.returncode == 1
    assert "the page is missing" in missing.stderr


def test_states_of_a_replay() -> None:
    assert positions_states(3, None, None).tolist() == [State.EQUAL] * 3
    unequal = np.array([False, True])
    assert positions_states(4, unequal, found("model", 0, 2)).tolist() == [
        State.EQUAL,
        State.OTHER_BITS,
        State.AFTER_FLIP,
        State.AFTER_FLIP,
    ]
    assert positions_states(2, np.array([True, True, True]), found("harness", 0, 1)).tolist() == [
        State.OTHER_BITS,
        State.AFTER_PROMPT,
    ]
    assert positions_states(2, None, found("harness", 0, 2)).tolist() == [State.EQUAL] * 2


def test_lanes_are_as_wide_as_the_longest_replay() -> None:
    lanes = lay_lanes([{"a": 3, "b": 2}, {"a": 1, "b": 4}])
    assert lanes == [Lane("a", 0, 3), Lane("b", 3, 4)]
    row = lay_row(lanes, {"a": np.array([1], dtype=np.uint8), "b": np.array([2, 3], dtype=np.uint8)})
    assert row.tolist() == [1, 0, 0, 2, 3, 0, 0]


@given(TOKENS)
def test_stretches_are_the_row(row: np.ndarray[Any, Any]) -> None:
    again = np.zeros(len(row), dtype=np.uint8)
    last = (State.OVER, 0, 0)
    for state, start, stop in stretches(row):
        assert stop > start >= last[2]
        assert start > last[2] or state != last[0] or start == 0
        again[start:stop] = state
        last = (state, start, stop)
    assert again.tolist() == row.tolist()


@given(TOKENS, st.integers(1, 9))
def test_a_condensed_column_is_the_gravest_of_its_positions(row: np.ndarray[Any, Any], step: int) -> None:
    expected = [max(row[at : at + step].tolist()) for at in range(0, len(row), step)]
    assert condense(row, step).tolist() == expected


def test_other_bits_are_counted_before_first_differences() -> None:
    rows = [np.array([1, 2, 3, 4, 0], dtype=np.uint8), np.array([1, 1, 2, 2, 2], dtype=np.uint8)]
    assert count_other_bits(rows) == (4, 7)


@pytest.mark.parametrize(
    ("texts", "order"),
    [
        (["10", "9", "1,200", "–"], [1, 0, 2, None]),
        (["2.4e-06 / 1", "0.031 / 2", "0 / 0"], [1, 2, 0]),
        (["b", "A", "a"], [1, 0, 0]),
        (["≥ 0.3", "0.2", "not run: no cell.json", ""], [1, 0, None, None]),
        (["47 %", "2.4 %", "100 %"], [1, 0, 2]),
        (["`q6_k`", "bf16"], [1, 0]),
    ],
)
def test_the_order_of_a_column_as_it_is_read(texts: list[str], order: list[int | None]) -> None:
    assert ranks.ranks_of(texts) == order


def test_classes_and_flips_are_ordered_by_gravity() -> None:
    names = ["harness", "none observed", "near-tie", "wide", "logits-only"]
    assert ranks.rank([ranks.class_key(name) for name in names]) == [4, 0, 2, 3, 1]
    rates = [
        Rate(events=0, exposure=9, rate=0.0, low=0.0, high=3.0),
        Rate(events=0, exposure=9, rate=0.0, low=0.0, high=1.0),
        Rate(events=0, exposure=0, rate=None, low=None, high=None),
        Rate(events=1, exposure=9, rate=0.1, low=0.0, high=0.2),
    ]
    assert ranks.rank([ranks.flips_key(rate) for rate in rates]) == [1, 0, None, 2]
    assert ranks.share_key(None, 3) is None


def test_inline_words() -> None:
    assert render_inline("a `b*c*` **d `e`** *f* 2 * 3 * 4 <g>") == (
        "a <code>b*c*</code> <strong>d <code>e</code></strong> <em>f</em> 2 * 3 * 4 &lt;g&gt;"
    )
    assert render_inline("![a < b](data:image/svg+xml;base64,QQ==) ![c](c.svg)") == (
        '<img alt="a &lt; b" src="data:image/svg+xml;base64,QQ=="> c'
    )
    assert render_inline("[x](https://a.b/c) [y](docs/z.md) [z](javascript:alert)") == (
        '<a href="https://a.b/c">x</a> y z'
    )


def test_blocks() -> None:
    text = "# A `b`\n\none\ntwo\n\n> three\n> four\n\n```\nx | <y>\n```\n\n1. a\n2. b\n<!-- gone -->\n## C\n"
    assert title_of(text) == "A b"
    assert render_markdown(text, level=2, title=False) == (
        "<p>one two</p>\n<blockquote><p>three four</p></blockquote>\n"
        '<pre class="scroll"><code>x | &lt;y&gt;</code></pre>\n<ol>\n<li>a</li>\n<li>b</li>\n</ol>\n<h3>C</h3>'
    )
    assert render_markdown("| no table |") == "<p>| no table |</p>"
    assert title_of("no heading") == ""


def turn(number: int, appended: list[int], output: list[int], results: Sequence[str] = ()) -> Turn:
    return Turn(
        scenario="a",
        turn=number,
        appended_ids=appended,
        output_ids=output,
        finish_reason="stop",
        text="",
        tool_calls=[],
        tool_results=list(results),
        answer=None,
    )


def found(
    kind: DifferenceKind, number: int, position: int, *, replay: int = 1, token: int | None = None
) -> Difference:
    known = KnownCandidates(chosen=-0.5, top=[(token or 0, -0.5)])
    return Difference(
        session=0,
        replay=replay,
        scenario="a",
        turn=number,
        kind=kind,
        position=position,
        margin=None,
        margin_censored=False,
        class_="harness" if kind == "harness" else "unclassified",
        token=token,
        other_token=None,
        other_margin=None,
        other_margin_censored=False,
        candidates=CandidatePair(reference=None, other=known),
    )


def letters(ids: Sequence[int]) -> str:
    return "".join(chr(each) for each in ids)


def turns(*each: Turn) -> dict[tuple[str, int], Turn]:
    return {(one.scenario, one.turn): one for one in each}


def codes(text: str) -> list[int]:
    return [ord(each) for each in text]


def test_texts_around_a_flip() -> None:
    first = turn(0, codes("ask"), codes("tool."))
    mine = turns(first, turn(1, codes("got 7"), codes("it is so")))
    theirs = turns(first, turn(1, codes("got 7"), codes("it is")))
    pair = pair_texts(found("model", 1, 10, token=ord(" ")), mine, theirs, letters)
    assert (pair.reference.before, pair.reference.mark, pair.reference.after) == ("got 7it is", "␣", "so")
    assert (pair.other.before, pair.other.mark, pair.other.after) == ("got 7it is", ENDED, "")
    assert [each.text for each in pair.candidates] == ["␣"]
    assert pair.candidates[0].reference is None
    assert pair.candidates[0].other == pytest.approx(0.6065, abs=1e-4)


def test_texts_where_prompts_differ_are_cut_to_what_differs() -> None:
    mine, theirs = (turns(turn(0, codes(f"at {time} sharp"), [1])) for time in ("10:51", "10:57:3"))
    pair = pair_texts(found("harness", 0, 0), mine, theirs, letters)
    assert pair.what == "the prompt"
    assert (pair.reference.before, pair.reference.mark, pair.reference.after) == ("at 10:5", "1", " sharp")
    assert (pair.other.mark, pair.other.after) == ("7:3", " sharp")
    without = pair_texts(found("harness", 0, 0), mine, theirs, None)
    assert without.other == pair.other


def test_texts_where_one_has_a_turn_more_or_other_results() -> None:
    mine, theirs = turns(turn(0, [1], [2])), turns(turn(0, [1], [2]), turn(1, codes("on"), [3]))
    pair = pair_texts(found("harness", 1, 1), mine, theirs, letters)
    assert (pair.reference.mark, pair.other.mark) == (ENDED, "on")
    said, other = turns(turn(0, [1], [2], ["pid 17"])), turns(turn(0, [1], [2], ["pid 18"]))
    pair = pair_texts(found("harness", 0, 1), said, other, letters)
    assert (pair.what, pair.reference.mark, pair.other.mark) == ("the tool's result", "7", "8")


def test_equal_pairs_become_one_with_all_their_replays() -> None:
    mine, theirs = turns(turn(0, [65], [66])), turns(turn(0, [65], [67]))
    pairs = [pair_texts(found("model", 0, 0, replay=replay), mine, theirs, letters) for replay in (1, 2)]
    other = pair_texts(found("model", 0, 0, replay=3), mine, turns(turn(0, [65], [68])), letters)
    merged = merge_pairs([pairs[0], other, pairs[1]])
    assert [each.replays for each in merged] == [[(0, 1), (0, 2)], [(0, 3)]]


def test_provenance_says_once_what_sessions_share() -> None:
    parts = [{"a": {"b": 1, "c": [1, 2]}, "d": None, "e": True}, {"a": {"b": 2, "c": [1, 2]}, "e": True}]
    assert rows_of(parts) == [("a.b", "session 0: 1; session 1: 2"), ("a.c", "1, 2"), ("e", "yes")]

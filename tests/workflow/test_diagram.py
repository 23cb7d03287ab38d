"""The diagram of the front page: its arrows are Snakemake's own, and what an arrow carries is what its rule writes."""

from __future__ import annotations

import re
from pathlib import Path

from checkouts import copy_checkout

Edges = set[tuple[str, str]]

ARROW = re.compile(r'^\s*(\w+) -->\|"([^"]+)"\| (\w+)$', re.MULTILINE)


def drawn(text: str) -> list[tuple[str, str, str]]:
    """The arrows of the first Mermaid block of a page: from, what, to."""
    found = re.search(r"```mermaid\n(.*?)```", text, re.DOTALL)
    assert found, "there is no diagram"
    arrows = ARROW.findall(found[1])
    assert len(arrows) == found[1].count("-->"), "an arrow is written otherwise"
    return arrows


def rule_graph(said: str) -> Edges:
    """The edges of `--rulegraph mermaid-js`, by the rules' names, but for those of a rule to itself."""
    names = dict(re.findall(r"^\s*(id\d+)\[(\w+)\]$", said, re.MULTILINE))
    edges = re.findall(r"^\s*(id\d+) --> (id\d+)$", said, re.MULTILINE)
    return {(names[a], names[b]) for a, b in edges if a != b}


def reduced(edges: Edges) -> Edges:
    """The edges without those that a longer way replaces."""

    def reaches(start: str, end: str, without: tuple[str, str]) -> bool:
        following = [b for a, b in edges if a == start and (a, b) != without]
        return end in following or any(reaches(each, end, without) for each in following)

    return {edge for edge in edges if not reaches(*edge, edge)}


def test_edges_that_a_longer_way_replaces_are_not_drawn() -> None:
    assert reduced({("a", "b"), ("b", "c"), ("a", "c"), ("d", "c")}) == {("a", "b"), ("b", "c"), ("d", "c")}


def test_the_diagram_is_that_of_the_rules(root: Path, tmp_path: Path) -> None:
    arrows = drawn((root / "README.md").read_text(encoding="utf-8"))
    graph = ("--rulegraph", "mermaid-js", "--config", "grid=embedded", "--", "archive")
    done = copy_checkout(root, tmp_path / "checkout").run(*graph)
    assert done.returncode == 0, done.stdout
    assert {(source, target) for source, _, target in arrows} == reduced(rule_graph(done.stdout))
    rules = "".join(path.read_text(encoding="utf-8") for path in (root / "rules").glob("*.smk"))
    known = rules + (root / "scripts/grid/plan.py").read_text(encoding="utf-8")
    for source, file, _ in arrows:
        rule = re.search(rf"^(?:rule|checkpoint) {source}:\n(.*?)(?=^\w|\Z)", rules, re.DOTALL | re.MULTILINE)
        assert rule, source
        output = re.search(r"^    output:\n(.*?)^    \w+:\n", rule[1], re.DOTALL | re.MULTILINE)
        assert output, source
        constants = re.findall(r"\b[A-Z][A-Z_]+\b", output[1])
        written = output[1] + "".join(
            line for name in constants for line in re.findall(rf"^{name} = .*$", known, re.MULTILINE)
        )
        assert file in written, f"{source} writes no {file}"

"""The front page is short, its links and commands lead somewhere, and its figures are those of the reference table."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

PAGES = [
    "README.md",
    "config/README.md",
    "config/grids/README.md",
    "containers/README.md",
    "results/reference/README.md",
    "scripts/archive/README.md",
    "scripts/engines/README.md",
    "scripts/report/README.md",
]


def test_the_front_page_is_short(root: Path) -> None:
    assert len((root / "README.md").read_text(encoding="utf-8").splitlines()) <= 150


@pytest.mark.parametrize("page", PAGES)
def test_links_and_commands_lead_somewhere(root: Path, page: str) -> None:
    text = (root / page).read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in link:
            assert (root / page).parent.joinpath(link).exists(), f"{page} links to {link}, which is not there"
    for name in re.findall(r"python -m ((?:scripts|benchmarks)\.[a-z_.]+)", text):
        assert root.joinpath(*name.split(".")).with_suffix(".py").is_file(), f"{page} runs {name}"
    for name in re.findall(r"grid=([a-z-]+)", text):
        assert (root / f"config/grids/{name}.yaml").is_file(), f"{page} names the grid {name}"


def test_every_grid_is_listed(root: Path) -> None:
    listed = (root / "config/grids/README.md").read_text(encoding="utf-8")
    missing = [path.stem for path in (root / "config/grids").glob("*.yaml") if f"`{path.stem}`" not in listed]
    assert missing == []


def test_anchors_of_the_front_page_are_headings(root: Path) -> None:
    for file, anchor in re.findall(r"\]\(([^)#\s]+)#([^)]+)\)", (root / "README.md").read_text("utf-8")):
        headings = re.findall(r"^#+ (.+)$", (root / file).read_text(encoding="utf-8"), re.MULTILINE)
        anchors = [re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings]
        assert anchor in anchors, f"{file} has no heading {anchor}"


def test_the_table_of_the_front_page_is_the_reference_table(root: Path) -> None:
    """Each row's k/N and rate, with its interval or bound, are those of the published table, as that rounds them."""
    published = (root / "results/reference/hopper/table.md").read_text(encoding="utf-8")
    rows = {
        f"{cells[0]} {cells[1]}": (cells[3], cells[5])
        for line in published.splitlines()
        if (cells := [each.strip() for each in line.strip("|").split("|")]) and len(cells) == 7
    }
    known = pd.read_csv(root / "results/reference/hopper/table.csv")
    assert len(known) >= 32
    shown = re.findall(
        r"^\| (random-[^|]+) \| ([^|]+) \| ([^|]+) \| ([^|]+) \|$",
        (root / "README.md").read_text("utf-8"),
        re.M,
    )
    assert len(shown) == 7
    for names, _, fraction, rate in shown:
        model, *precisions = re.split(r" |, ", names.replace("`", ""), maxsplit=1)
        each = precisions[0].split(", ") if "each" in fraction else [precisions[0]]
        for precision in each:
            bits, flips = rows[f"{model} {precision}"]
            assert fraction.replace("*", "").removesuffix(" each").strip() == bits
            assert rate.replace("*", "").strip() == flips

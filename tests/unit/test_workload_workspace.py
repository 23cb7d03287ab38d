"""The agent's tools: what they give, and that nothing leads out of the workspace."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.records.settings import Listing
from scripts.workload.toolcalls import ParsedCall
from scripts.workload.workspace import Limits, Workspace


def workspace(folder: Path, listing: Listing = "names", limits: Limits | None = None) -> Workspace:
    folder.mkdir(parents=True, exist_ok=True)
    return Workspace(folder, {"chart.csv": "bar\n1\n"}, limits=limits or Limits(), listing=listing)


def call(name: str, **arguments: str) -> ParsedCall:
    return ParsedCall(name, arguments)


def test_the_baseline_listing_is_names_and_sizes_sorted(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w")
    space.call(call("write_file", path="notes.md", content="ä"))
    space.call(call("write_file", path="a.txt", content=""))
    assert space.call(call("list_files")) == "a.txt 0\nchart.csv 6\nnotes.md 2"


def test_the_leaky_listing_is_what_ls_gives(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w", "ls")
    space.call(call("write_file", path="notes.md", content="x" * 1234))
    listed = space.call(call("list_files"))
    real = subprocess.run(
        ["ls", "-la", "--time-style=full-iso"],
        cwd=tmp_path / "w",
        env={**os.environ, "LC_ALL": "C"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert listed == real.stdout.rstrip("\n")


def test_the_leak_is_of_what_the_model_wrote(tmp_path: Path) -> None:
    lines = []
    for name in ("one", "two"):
        space = workspace(tmp_path / name, "ls")
        space.call(call("write_file", path="notes.md", content="x"))
        lines.append({line.split()[-1]: line for line in space.call(call("list_files")).splitlines()[1:]})
    assert lines[0]["chart.csv"] == lines[1]["chart.csv"]
    assert lines[0]["notes.md"] != lines[1]["notes.md"]


@pytest.mark.parametrize(
    "path",
    [
        "../secret",
        "/etc/passwd",
        "..",
        ".",
        "a/b",
        "a\\b",
        "",
        "~",
        "\x00",
        ".hidden",
        "a" * 65,
        "chart.csv\n",
    ],
)
def test_no_path_leads_out(tmp_path: Path, path: str) -> None:
    (tmp_path / "secret").write_text("s")
    space = workspace(tmp_path / "w")
    for tool, arguments in (("read_file", {}), ("write_file", {"content": "x"})):
        assert space.call(call(tool, path=path, **arguments)).startswith("error: ")
    assert [entry.name for entry in (tmp_path / "w").iterdir()] == ["chart.csv"]


@settings(max_examples=200)
@given(st.text(max_size=20))
def test_no_name_whatever_leads_out(tmp_path_factory: pytest.TempPathFactory, path: str) -> None:
    root = tmp_path_factory.mktemp("w")
    space = workspace(root / "inner")
    space.call(call("write_file", path=path, content="x"))
    assert [entry.name for entry in root.iterdir()] == ["inner"]
    assert all(entry.is_file() for entry in (root / "inner").iterdir())


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s")
    space = workspace(tmp_path / "w")
    (tmp_path / "w" / "link").symlink_to(tmp_path / "secret")
    assert space.call(call("read_file", path="link")).startswith("error: ")
    assert space.call(call("write_file", path="link", content="x")).startswith("error: ")
    assert (tmp_path / "secret").read_text() == "s"


def test_sizes_and_counts_are_bounded(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w", limits=Limits(file_bytes=10, files=2))
    assert "larger than 10 bytes" in space.call(call("write_file", path="a", content="x" * 11))
    assert space.call(call("write_file", path="a", content="x" * 10)) == "wrote 10 bytes to a"
    assert "holds 2 files already" in space.call(call("write_file", path="b", content="x"))
    assert space.call(call("write_file", path="a", content="y")) == "wrote 1 bytes to a"
    (tmp_path / "w" / "a").write_text("x" * 11)
    assert "larger than 10 bytes" in space.call(call("read_file", path="a"))


def test_given_files_are_read_only(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w")
    assert space.call(call("write_file", path="chart.csv", content="x")) == "error: 'chart.csv' is read-only"
    assert space.call(call("read_file", path="chart.csv")) == "bar\n1\n"


def test_a_wrong_call_gets_words_that_help(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w")
    cases = [
        (
            call("shell", command="ls"),
            "there is no tool 'shell'; the tools are list_files, read_file, write_file, answer",
        ),
        (call("read_file"), "read_file takes path"),
        (call("list_files", path="."), "list_files takes no parameter"),
        (call("read_file", path="none.txt"), "there is no file 'none.txt'; call list_files"),
        (ParsedCall("", {}, "the call has no closing </tool_call>"), "the call has no closing </tool_call>"),
    ]
    for wrong, words in cases:
        assert space.call(wrong) == f"error: {words}"


def test_the_clean_listing_carries_nothing_volatile(tmp_path: Path) -> None:
    space = workspace(tmp_path / "w")
    space.call(call("write_file", path="notes.md", content="x"))
    assert re.fullmatch(r"(\S+ \d+\n?)+", space.call(call("list_files")))

"""The archive of a grid that was run: made by the rule, twice alike, and verified by a reader who has only the zip."""

from __future__ import annotations

import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from checkouts import CELLS, ENGINE, GRID, Checkout, Shared

from tests.terminal import on_terminal

# What the command says that it needs beside Python.
PACKAGES = ("jsonschema", "msgspec", "numpy", "pandas", "PyYAML", "rocrate", "scipy", "tabulate")
ZIP = "results/provenance.zip"


@pytest.fixture(scope="module")
def archived(made: tuple[Checkout, str], shared: Shared) -> Checkout:
    """The finished checkout with its archive. To be read, not to be changed."""

    def make(folder: Path) -> None:
        checkout = made[0].copy(folder)
        pair = [f"tinychart-dense/q8_0/{ENGINE}/{variant}" for variant in ("base", "leaky")]
        checkout.write_yaml("config/grids/tiny.yaml", {**GRID, "forced": 2, "compare": [pair]})
        done = checkout.run("--cores", "1", "archive")
        assert done.returncode == 0, done.stdout

    return shared("archived", make)


def needed(names: tuple[str, ...]) -> set[str]:
    """These packages and all that they need, by their names in the lock."""
    found: set[str] = set()
    waiting = [*names]
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue  # of another platform or Python
        found.add(name)
        waiting += [re.split(r"[^\w.-]", each)[0] for each in requires if "extra ==" not in each]
    return found


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the named packages, and nothing else that is installed here."""
    folder = tmp_path_factory.mktemp("packages")
    for name in needed(PACKAGES):
        for file in importlib.metadata.files(name) or ():
            top = file.parts[0]
            if top not in ("..", "__pycache__") and not (folder / top).exists():
                (folder / top).symlink_to(
                    file.locate().parents[len(file.parts) - 2] if len(file.parts) > 1 else file.locate()
                )
    return folder


def read(folder: Path, packages: Path | None, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in a folder, with no packages but those."""
    variables = {"PATH": os.defpath, **({"PYTHONPATH": str(packages)} if packages else {})}
    command = [sys.executable, "-S", *arguments]
    return subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, check=False)


def test_a_reader_who_has_only_the_zip_can_judge_it_again(
    archived: Checkout, packages: Path, tmp_path: Path
) -> None:
    shutil.copyfile(archived.path / ZIP, tmp_path / "provenance.zip")
    unpacked = read(tmp_path, None, "-m", "zipfile", "-e", "provenance.zip", "folder")
    assert unpacked.returncode == 0, unpacked.stderr
    done = read(tmp_path / "folder", packages, "-m", "scripts.verify_archive", "../provenance.zip")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (
        "judged again: 2 cells with 4 sessions, 8 replays and 2 forced replays, 5 pages; everything agrees"
        in done.stdout
    )
    assert "not those in the archive" not in done.stderr
    content = bytearray((tmp_path / "provenance.zip").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "provenance.zip").write_bytes(content)
    done = read(tmp_path / "folder", packages, "-m", "scripts.verify_archive", "../provenance.zip")
    assert done.returncode == 1
    assert "its bytes were changed" in done.stdout


def test_without_the_packages_it_says_which_and_how_to_have_them(archived: Checkout, tmp_path: Path) -> None:
    read(tmp_path, None, "-m", "zipfile", "-e", str(archived.path / ZIP), "folder")
    done = read(tmp_path / "folder", None, "-m", "scripts.verify_archive", str(archived.path / ZIP))
    assert done.returncode == 1
    assert done.stderr.startswith("error: the package ")
    assert "-r envs/workflow.lock" in done.stderr
    assert (tmp_path / "folder/envs/workflow.lock").is_file()


def test_the_same_data_gives_the_same_bytes(archived: Checkout, tmp_path: Path) -> None:
    checkout = archived.copy(tmp_path / "checkout")
    before = (checkout.path / ZIP).read_bytes()
    assert "Nothing to be done" in checkout.run("--cores", "1", "archive").stdout
    done = checkout.run("--cores", "1", "-R", "report", "--", "archive")
    assert done.returncode == 0, done.stdout
    assert "Make the report." in done.stdout and "Archive the grid." in done.stdout
    assert (checkout.path / ZIP).read_bytes() == before


def test_cells_side_by_side_are_a_page_a_section_and_a_column(archived: Checkout) -> None:
    name = f"tinychart-dense-q8_0-{ENGINE}-base"
    page = (archived.path / f"results/compare/{name}.md").read_text(encoding="utf-8")
    # One engine over one trajectory, whatever its harness showed it before.
    assert re.search(
        r"- Forced, decode: (\d+) positions .*; top-1 equal at \1 .*; bits equal at \1 \(100 %\)", page
    )
    assert "- Forced, prefill: " in page and "harness list_files: A names; B ls" in page
    table = (archived.path / "results/table.md").read_text(encoding="utf-8")
    assert "distance from q8_0: top-1, KL ≥ nat" in table and "| 100 %, 0 " in table
    assert f'id="page-{name}"' in (archived.path / "results/report.html").read_text(encoding="utf-8")
    with zipfile.ZipFile(archived.path / ZIP) as packed:
        fed = f"{CELLS}/leaky/fed/tinychart-dense--q8_0--{ENGINE}--base/"
        assert {f"{fed}forced.json", f"{fed}forced/pass-00.decode.jsonl"} <= set(packed.namelist())


def test_it_names_no_folder_of_this_machine_and_has_no_weights(archived: Checkout) -> None:
    with zipfile.ZipFile(archived.path / ZIP) as packed:
        for name in packed.namelist():
            assert str(archived.path).encode() not in packed.read(name), name
            assert not name.endswith((".gguf", ".safetensors", ".log")), name


def test_an_edit_of_a_result_or_of_the_code_archives_again(archived: Checkout, tmp_path: Path) -> None:
    checkout = archived.copy(tmp_path / "checkout")
    checkout.edit("README.md", "# tempzero", "# Tempzero")
    assert checkout.jobs("archive") == {"archive": 1}


def test_what_was_edited_by_hand_is_not_archived(archived: Checkout, tmp_path: Path) -> None:
    checkout = archived.copy(tmp_path / "checkout")
    checkout.edit(f"{CELLS}/base/session-00/replay-00.transcript.jsonl", '"stop"', '"length"')
    (checkout.path / ZIP).unlink()
    done = checkout.run("--cores", "1", "archive")
    assert done.returncode == 1
    assert "records disagree with what is in the folder, so nothing is archived" in done.stdout
    assert "it lists replay-00.transcript.jsonl with the sha256" in done.stdout
    assert not (checkout.path / ZIP).exists()


# The workflow on a terminal


def test_on_a_terminal_a_grid_is_one_screen(fresh: Checkout) -> None:
    command = fresh.command("--cores", "1", "results/table.md")
    with on_terminal(command, cwd=fresh.path, size=(100, 24)) as process:
        seen: set[str] = set()

        def done() -> bool:
            if process.terminal.page is process.terminal.other:
                seen.update(process.terminal.page.text)
            return process.ended()

        process.read(done)
        assert process.process.returncode == 0, process.raw[-4000:]
        assert process.is_as_it_was()
        assert process.terminal.entered == 1
        assert process.terminal.other.scrolled == 0
        text = "\n".join(sorted(seen))
        assert re.search(r"now .*q8_0 .* (base|leaky) · session [12] of 2 · (replay|the engine)", text), text
        assert re.search(r"left +about .*, until", text), text
        assert "4 of 4 done" in text, text
        before = [*process.terminal.main.history, *process.terminal.main.text]
        assert any(line.startswith("grid tiny (named by config/config.yaml)") for line in before)
    assert (fresh.path / "results/table.md").is_file()

"""The archive: packed byte for byte alike, judged again from the zip alone, and no byte of it changes unnoticed."""

from __future__ import annotations

import dataclasses
import json
import os
import random
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.archive.contents import COMMIT, METADATA, PATCH, REPORT, SUMS, code_files, result_files
from scripts.archive.crate import render_crate
from scripts.archive.pack import COMMENT_BYTES, check_bytes, unpack, write_zip
from scripts.archive.rejudge import Counts, judge_cells
from scripts.archive.unequal import unequal
from scripts.archive.verify import check_sums, judge_folder, verify_archive
from scripts.archive.write import hash_files, render_sums, write_archive
from scripts.common.errors import DataError
from scripts.common.files import read_json, sha256_bytes, sha256_file, write_json
from scripts.records.grid import Grid
from scripts.records.session import LoadRecord
from tests.unit.cells import command
from tests.unit.grids import (
    BASE,
    ENGINE,
    JITTER,
    KEYS,
    MANIFEST,
    PAGE,
    ROOT,
    WORKLOAD,
    judge,
    write_forced,
    write_grid,
)

CHANGES = 50


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a grid, and its archive. To be read, not to be changed."""
    home = write_grid(tmp_path_factory.mktemp("archive") / "made", code=True)
    write_archive(home, home / "results/provenance.zip")
    return home


@pytest.fixture
def archive(made: Path) -> Path:
    return made / "results/provenance.zip"


@pytest.fixture
def home(made: Path, tmp_path: Path) -> Path:
    """A copy of the folder, to be changed at will."""
    shutil.copytree(made, tmp_path / "home")
    return tmp_path / "home"


def found(archive: Path) -> list[str]:
    return [str(each) for each in verify_archive(archive).disagreements]


def edited(archive: Path, target: Path, edit: Callable[[Path], object], *, described: bool = False) -> Path:
    """The archive after `edit` was made to what it holds, packed anew with all its sums right.

    `described`: its description is made anew as well.
    """
    folder = target.with_suffix("")
    unpack(archive, folder)
    edit(folder)
    (folder / SUMS).unlink(missing_ok=True)
    if described:
        files = {name: digest for name, digest in hash_files(folder).items() if name != METADATA}
        (folder / METADATA).write_text(render_crate(folder, files))
    files = hash_files(folder)
    (folder / SUMS).write_text(render_sums(files))
    write_zip(target, folder, hash_files(folder))
    return target


def change(folder: Path, name: str, **values: Any) -> None:
    """Lay `values` over a JSON file."""
    write_json(folder / name, {**read_json(folder / name), **values})


def replace(folder: Path, name: str, old: str, new: str) -> None:
    text = (folder / name).read_text()
    assert old in text
    (folder / name).write_text(text.replace(old, new, 1))


# What is in it


def test_it_agrees_with_itself_and_says_how_much_was_judged(archive: Path) -> None:
    verified = verify_archive(archive)
    assert verified.disagreements == []
    assert dataclasses.astuple(verified.counts) == (2, 4, 8, 1, 5, "")
    assert verified.sha256 == sha256_file(archive)
    with zipfile.ZipFile(archive) as packed:
        assert verified.files == len(packed.namelist())


def test_it_holds_results_code_sums_and_description_and_no_more(made: Path, archive: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        names = packed.namelist()
        sums = dict(reversed(line.split("  ")) for line in packed.read(SUMS).decode().splitlines())
        digests = {name: sha256_bytes(packed.read(name)) for name in names}
    assert names == sorted({*result_files(made), *code_files(made), COMMIT, METADATA, SUMS})
    assert {name: digest for name, digest in digests.items() if name != SUMS} == sums


def test_two_packings_have_the_same_bytes(home: Path, archive: Path) -> None:
    for path in sorted(home.rglob("*"), reverse=True):
        os.utime(path, (1, 1))
        path.chmod(0o700)
    write_archive(home, home.parent / "elsewhere/another.zip")
    assert (home.parent / "elsewhere/another.zip").read_bytes() == archive.read_bytes()
    assert [path.name for path in (home.parent / "elsewhere").iterdir()] == ["another.zip"]


def test_weights_logs_and_hidden_files_stay_out(home: Path, archive: Path) -> None:
    for name in (
        "results/quants/tinychart-dense/bf16/model.gguf",
        "results/logs/table.log",
        "scripts/.secret",
    ):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text("x")
    (home / "resources").mkdir()
    (home / "resources/model.safetensors").write_text("x")
    write_archive(home, home / "again.zip")
    assert (home / "again.zip").read_bytes() == archive.read_bytes()


def test_a_changed_tree_brings_its_patch(home: Path) -> None:
    who = ("-c", "user.name=a", "-c", "user.email=a@example.org")
    for arguments in (("init", "-q"), ("add", "scripts", "Snakefile"), (*who, "commit", "-qm", "one")):
        subprocess.run(["git", *arguments], cwd=home, check=True)
    (home / "Snakefile").write_text((home / "Snakefile").read_text() + "# changed\n")
    write_archive(home, home / "again.zip")
    assert found(home / "again.zip") == []
    with zipfile.ZipFile(home / "again.zip") as packed:
        assert b"+# changed" in packed.read(PATCH)
        code = json.loads(packed.read(COMMIT))
        graph = {each["@id"]: each for each in json.loads(packed.read(METADATA))["@graph"]}
    assert code["dirty"] is True
    assert graph["Snakefile"]["version"] == code["commit"]
    assert graph["Snakefile"]["isBasedOn"] == {"@id": PATCH}
    without = edited(
        home / "again.zip", home / "without.zip", lambda folder: (folder / PATCH).unlink(), described=True
    )
    assert found(without) == [f"{PATCH}: an archive of this grid has it, and it is not there"]


def test_a_quant_brings_the_manifests_that_it_was_built_from(home: Path) -> None:
    def manifest(name: str) -> Path:
        return home / f"results/quants/tinychart-dense/{name}/manifest.json"

    change(home, MANIFEST, source={"from": "f16"})
    write_json(manifest("f16"), {**read_json(home / MANIFEST), "precision": "f16", "source": {"from": "f32"}})
    for path in home.glob("results/cells/**/session.json"):
        change(home, str(path.relative_to(home)), weights={"manifest_sha256": sha256_file(home / MANIFEST)})
    with pytest.raises(DataError, match="f32/manifest.json: the file is missing"):
        write_archive(home, home / "again.zip")
    write_json(manifest("f32"), {**read_json(home / MANIFEST), "precision": "f32", "source": {}})
    write_archive(home, home / "again.zip")
    assert found(home / "again.zip") == []


def test_a_verdict_of_an_older_version_is_judged_by_what_it_says(home: Path) -> None:
    def older(**keys: Any) -> list[str]:
        judge(home)
        for cell in (BASE, JITTER):
            said = read_json(home / cell / "cell.json")
            del said["agreement"], said["parts"]
            write_json(home / cell / "cell.json", {**said, "version": 1, **keys})
        grid = Grid.read(home / "results/grid.json")
        return [str(each) for each in judge_cells(home, grid, Counts())]

    assert older() == []
    assert any("text_identical" in each for each in older(text_identical=3))
    assert any("parts" in each for each in older(parts="within"))
    judge(home)
    said = read_json(home / BASE / "cell.json")
    write_json(home / BASE / "cell.json", {**said, "parts": None})
    assert any(
        "parts" in str(each) for each in judge_cells(home, Grid.read(home / "results/grid.json"), Counts())
    )


def test_a_partial_grid_is_archived_as_far_as_it_is(home: Path) -> None:
    change(home, "results/grid.json", partial=True)
    shutil.rmtree(home / JITTER)
    judge(home)
    write_archive(home, home / "again.zip")
    verified = verify_archive(home / "again.zip")
    assert [str(each) for each in verified.disagreements] == []
    assert verified.counts.cells == 1


def test_a_grid_of_which_nothing_ran_is_not_archived(home: Path) -> None:
    grid = read_json(home / "results/grid.json")
    planned = [{**cell, "status": "planned", "reason": "no GPU"} for cell in grid["cells"]]
    change(home, "results/grid.json", cells=planned)
    with pytest.raises(DataError, match="no session to archive"):
        write_archive(home, home / "again.zip")
    assert not (home / "again.zip").exists()


def test_a_servers_version_is_compared_where_it_stands_as_before_records_had_one(home: Path) -> None:
    engine = {**read_json(home / ENGINE), "runtime": "external", "version": "b5000"}
    write_json(home / ENGINE, engine)
    sessions = [str(path.relative_to(home)) for path in home.glob("results/cells/**/session.json")]
    for name in sessions:
        before = {key: value for key, value in read_json(home / name).items() if key != "version"}
        write_json(home / name, {**before, "engine_record": engine})
    write_archive(home, home / "again.zip")
    assert found(home / "again.zip") == []
    change(home, sessions[0], engine_record={**engine, "version": "b5001"})
    with pytest.raises(DataError, match="engine_record.server_version is 'b5001' in the session, 'b5000' in"):
        write_archive(home, home / "again.zip")


def test_forced_passes_under_load_are_archived(home: Path) -> None:
    load = LoadRecord(
        streams=2, requests=9, tokens=90, seconds=1.0, in_flight=None, caches_between_episodes="kept"
    )
    write_forced(home / BASE, load=load)
    judge(home)
    write_archive(home, home / "again.zip")
    assert found(home / "again.zip") == []


# A byte changes


def test_each_of_many_changed_bytes_of_the_zip_is_found(archive: Path, tmp_path: Path) -> None:
    """Anywhere in it: headers, compressed streams, directory, comment."""
    original, draw = archive.read_bytes(), random.Random(6)
    wrong = tmp_path / "wrong.zip"
    ends = [0, len(original) - 1, len(original) - COMMENT_BYTES - 1, len(original) - COMMENT_BYTES]
    judged: set[frozenset[tuple[str, str]]] = set()
    for place in [*ends, *(draw.randrange(len(original)) for _ in range(CHANGES))]:
        content = bytearray(original)
        content[place] ^= 1 << draw.randrange(8)
        wrong.write_bytes(content)
        assert check_bytes(wrong), f"byte {place}"
        files, _ = unpack(wrong, tmp_path / "files")
        if (
            left := frozenset(files.items())
        ) not in judged:  # what is judged of two zips with the same files is too
            judged.add(left)
            assert found(wrong), f"byte {place}"
    assert len(judged) > 5


class Unpacked:
    """An archive's files in a folder, in which one is changed at a time and put back as it was."""

    def __init__(self, archive: Path, folder: Path) -> None:
        self.folder = folder
        self.files, _ = unpack(archive, folder)
        self._before = {name: (folder / name).read_bytes() for name in self.files}

    def found_after(self, changed: Mapping[str, bytes]) -> list[str]:
        """What is found where these files have these bytes, as if they had been packed so."""
        for name, content in changed.items():
            (self.folder / name).write_bytes(content)
        files = {**self.files, **{name: sha256_bytes(content) for name, content in changed.items()}}
        said = [*check_sums(self.folder, files), *judge_folder(self.folder, files, Counts())]
        for name in self.files:
            if name in changed or name.endswith("/cell.json"):  # which judging replaces
                (self.folder / name).write_bytes(self._before[name])
        return [str(each) for each in said]

    def forged(self, name: str, content: bytes) -> dict[str, bytes]:
        """The file with its sha256 made anew where the description and the sums have it."""
        crate = json.loads(self._before[METADATA])
        (node,) = (each for each in crate["@graph"] if each["@id"] == name)
        node["sha256"] = sha256_bytes(content)
        described = (json.dumps(crate, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()
        sums = self._before[SUMS].decode()
        for changed, bytes_ in ((name, content), (METADATA, described)):
            line = f"{self.files[changed]}  {changed}\n"
            assert line in sums
            sums = sums.replace(line, f"{sha256_bytes(bytes_)}  {changed}\n")
        return {name: content, METADATA: described, SUMS: sums.encode()}


@pytest.fixture
def unpacked(archive: Path, tmp_path: Path) -> Unpacked:
    return Unpacked(archive, tmp_path / "files")


def test_files_that_are_as_they_were_agree(unpacked: Unpacked) -> None:
    name = "results/table.md"
    assert unpacked.found_after({}) == []
    assert unpacked.found_after(unpacked.forged(name, (unpacked.folder / name).read_bytes())) == []


def test_each_of_many_changed_bytes_of_a_file_in_it_is_found_by_name(unpacked: Unpacked) -> None:
    """As in a zip that was packed anew, so that it is whole as a zip: only the files' sums are left to see it."""
    names, draw = sorted(unpacked.files), random.Random(7)
    for number in range(CHANGES):
        name = draw.choice(names)
        content = bytearray((unpacked.folder / name).read_bytes())
        place = draw.randrange(len(content))
        content[place] ^= 1 << draw.randrange(8)
        said = unpacked.found_after({name: bytes(content)})
        assert any(name in each for each in said), f"{number}: byte {place} of {name}: {said}"


def test_each_of_many_changed_bytes_of_a_result_is_found_where_all_sums_were_made_anew(
    unpacked: Unpacked,
) -> None:
    """A forgery of a figure: SHA256SUMS and the description follow the changed file. Judging again is left to see it."""
    names = [name for name in sorted(unpacked.files) if judged(name)]
    assert len(names) > 20
    draw = random.Random(8)
    for number in range(CHANGES):
        name = draw.choice(names)
        content = bytearray((unpacked.folder / name).read_bytes())
        place = draw.choice(first_digits(bytes(content)))
        content[place] = ord("0") + (content[place] - ord("0") + 1) % 10
        said = unpacked.found_after(unpacked.forged(name, bytes(content)))
        assert said, f"{number}: byte {place} of {name}: {bytes(content)[place - 20 : place + 20]!r}"
        assert not any(SUMS in each or METADATA in each for each in said), said


def judged(name: str) -> bool:
    """Files of which every figure follows from others, or others from it."""
    return name.endswith(
        (".transcript.jsonl", ".logprobs.jsonl", "cell.json", "forced.json", "table.md", "table.csv")
    )


def first_digits(content: bytes) -> list[int]:
    """Where a digit stands among the first six of its number: later ones may be another processor's rounding."""
    numbers = re.finditer(rb"(?<![\w.])-?(?:0\.0*)?\d(?:\.?\d){0,5}", content)
    return [
        place for found in numbers for place in range(*found.span()) if content[place : place + 1].isdigit()
    ]


def test_a_cut_or_foreign_file_is_no_archive(archive: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.zip"
    for content in (b"", b"PK", archive.read_bytes()[:-1], archive.read_bytes()[:-200], bytes(1000)):
        wrong.write_bytes(content)
        assert found(wrong)
    with pytest.raises(DataError, match="there is no such file"):
        verify_archive(tmp_path / "none.zip")


def test_a_zip_packed_by_another_tool_says_so(archive: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(archive) as old, zipfile.ZipFile(tmp_path / "new.zip", "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name))
    said = found(tmp_path / "new.zip")
    assert any("does not end with the sha256 of its bytes" in each for each in said)
    assert any("header is not as it is written here" in each for each in said)


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_a_name_that_leads_out_of_the_folder_is_not_unpacked(name: str, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bad.zip", "w") as packed:
        packed.writestr(name, "x")
    files, wrong = unpack(tmp_path / "bad.zip", tmp_path / "folder/inner")
    assert files == {}
    assert any("a name that no archive has" in each for each in wrong)
    assert not list(tmp_path.rglob("outside.txt"))


def test_a_file_that_changes_while_it_is_packed_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("a")
    with pytest.raises(DataError, match="changed while it was packed"):
        write_zip(tmp_path / "out.zip", tmp_path, {"a": "0" * 64})
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_the_last_bytes_are_the_sha256_of_those_before(archive: Path) -> None:
    content = archive.read_bytes()
    assert content[-COMMENT_BYTES:].decode() == f"sha256:{sha256_bytes(content[:-COMMENT_BYTES])}"
    assert check_bytes(archive) == []


# A figure is altered, and all sums with it


def test_another_fraction_in_a_cell_is_named(archive: Path, tmp_path: Path) -> None:
    wrong = edited(
        archive,
        tmp_path / "wrong.zip",
        lambda folder: change(folder, f"{JITTER}/cell.json", text_identical=4),
        described=True,
    )
    assert found(wrong) == [f"{JITTER}/cell.json: text_identical is 4, from its sessions follows 3"]


def test_another_verdict_in_a_cell_is_named(archive: Path, tmp_path: Path) -> None:
    wrong = edited(
        archive,
        tmp_path / "wrong.zip",
        lambda folder: change(folder, f"{JITTER}/cell.json", **{"class": "none observed"}),
        described=True,
    )
    assert found(wrong) == [
        f"{JITTER}/cell.json: class is 'none observed', from its sessions follows 'near-tie'"
    ]


def test_another_figure_in_the_tables_is_named(archive: Path, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        replace(folder, "results/table.md", "3/4", "4/4")
        replace(folder, "results/table.csv", "near-tie", "wide")
        change(folder, "results/controls.json", ok=False)
        replace(folder, PAGE, "4 of 4 free replays", "3 of 4 free replays")
        replace(folder, REPORT, ">3/4</a>", ">4/4</a>")
        replace(folder, REPORT, ">2 × 2<", ">3 × 2<")

    said = found(edited(archive, tmp_path / "wrong.zip", edit, described=True))
    assert [each.split()[0].split(":")[0] for each in said] == [
        "results/table.md",
        "results/table.csv",
        "results/controls.json",
        PAGE,
        "results/report.html,",
        "results/report.html,",
    ]
    assert "4/4" in said[0] and "3/4" in said[0]
    assert said[1] == "results/table.csv:3 class: it says 'wide', from the cells follows 'near-tie'"
    assert said[2] == "results/controls.json ok: it says False, from the cells follows True"
    assert said[4] == f"{REPORT}, finding, row 2, column 3: it says '4/4', from the cells follows '3/4'"
    assert said[5] == f"{REPORT}, details, row 1, column 7: it says '3 × 2', from the cells follows '2 × 2'"


def test_an_end_of_a_line_within_a_row_of_figures_is_named(unpacked: Unpacked) -> None:
    name = "results/table.csv"
    content = (unpacked.folder / name).read_bytes().replace(b"tinychart-dense", b"tinychart\rdense", 1)
    said = unpacked.found_after(unpacked.forged(name, content))
    assert any(each.startswith(f"{name}:2 ") for each in said), said


def test_a_row_that_the_report_hides_or_adds_is_named(archive: Path, tmp_path: Path) -> None:
    def hide(folder: Path) -> None:
        text = (folder / REPORT).read_text()
        row = text[(start := text.index("<tr><td data-rank")) : text.index("</tr>", start) + 5]
        (folder / REPORT).write_text(text.replace(row, "", 1))

    assert any(
        "finding, row 2" in each
        for each in found(edited(archive, tmp_path / "hidden.zip", hide, described=True))
    )

    def add(folder: Path) -> None:
        replace(
            folder, REPORT, "</main>", '<table class="sortable finding"><tr><td>6/6</td></tr></table></main>'
        )

    said = found(edited(archive, tmp_path / "added.zip", add, described=True))
    assert said == [f"{REPORT}, finding, row 3, column 1: it says '6/6', from the cells follows None"]


def test_other_words_are_found_though_record_and_sums_follow_them(archive: Path, tmp_path: Path) -> None:
    """The flip is edited out of the transcript, and session.json says so: verdict, table and page stand against it."""

    def edit(folder: Path) -> None:
        session = folder / JITTER / "session-01"
        for kind in ("transcript", "logprobs"):
            shutil.copyfile(session / f"replay-00.{kind}.jsonl", session / f"replay-01.{kind}.jsonl")
        shutil.copyfile(session / "replay-00.timing.jsonl", session / "replay-01.timing.jsonl")
        record = read_json(session / "session.json")
        for kind in ("transcript", "logprobs"):
            record["files"][1][kind]["sha256"] = sha256_file(session / f"replay-01.{kind}.jsonl")
        tokens = [22, 22]
        write_json(session / "session.json", {**record, "tokens": 44, "replay_tokens": tokens})

    said = found(edited(archive, tmp_path / "wrong.zip", edit, described=True))
    assert f"{JITTER}/cell.json: text_identical is 3, from its sessions follows 4" in said
    assert f"{JITTER}/cell.json: class is 'near-tie', from its sessions follows 'none observed'" in said
    assert any(each.startswith("results/table.md:") for each in said)
    assert any(each.startswith("results/controls.json") for each in said)


def test_a_description_that_does_not_follow_is_named(archive: Path, tmp_path: Path) -> None:
    def edit(folder: Path) -> None:
        replace(folder, METADATA, '"OMP_NUM_THREADS"', '"OMP_NUM_CORES"')

    (said,) = found(edited(archive, tmp_path / "wrong.zip", edit))
    assert said.startswith(f"{METADATA}: #variable-")
    assert "OMP_NUM_CORES" in said


@pytest.mark.parametrize(
    "name",
    [
        "results/table.md",
        REPORT,
        f"{BASE}/cell.json",
        f"{BASE}/session-01/session.json",
        MANIFEST,
        ENGINE,
        COMMIT,
        WORKLOAD,
    ],
)
def test_what_is_missing_is_named_and_the_rest_judged(archive: Path, tmp_path: Path, name: str) -> None:
    wrong = edited(archive, tmp_path / "wrong.zip", lambda folder: (folder / name).unlink())
    verified = verify_archive(wrong)
    assert any(name in str(each) for each in verified.disagreements), verified.disagreements
    assert verified.counts.cells >= 1


@pytest.mark.parametrize(
    "name", ["results/more.json", "code/more.json", f"{BASE}/session-00/replay-09.notes.txt"]
)
def test_what_no_archive_has_is_named(archive: Path, tmp_path: Path, name: str) -> None:
    wrong = edited(
        archive, tmp_path / "wrong.zip", lambda folder: write_json(folder / name, {}), described=True
    )
    assert f"{name}: it is nothing that an archive of this grid has" in found(wrong)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "torn or not JSON"),
        ("\udc80", "torn or not JSON"),
        ("[" * 100_000, "torn or not JSON"),
        ("{}", "heading"),
        ("[]", "results/grid.json"),
        (
            '{"heading": "", "cells": [1], "controls": [], "first_block": 16, "tie_margin": 1}',
            "results/grid.json",
        ),
    ],
)
def test_a_broken_grid_is_one_disagreement_more(
    archive: Path, tmp_path: Path, content: str, words: str
) -> None:
    wrong = edited(
        archive,
        tmp_path / "wrong.zip",
        lambda folder: (folder / "results/grid.json").write_bytes(content.encode(errors="surrogateescape")),
    )
    assert any(words in each for each in found(wrong))


def test_an_archive_of_nothing_does_not_pass(tmp_path: Path) -> None:
    write_zip(tmp_path / "empty.zip", tmp_path, {})
    assert f"{SUMS}: it is not there, or cannot be unpacked" in found(tmp_path / "empty.zip")


# Records against what lies beside them, before anything is packed


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda session: replace(session, "replay-01.transcript.jsonl", "4", "7"), "with the sha256"),
        (lambda session: (session / "replay-01.logprobs.jsonl").unlink(), "which is not there"),
        (lambda session: (session / "replay-00.timing.jsonl").unlink(), "replay-00.timing.jsonl is not there"),
        (lambda session: replace(session, "replay-00.timing.jsonl", "0.4", "0.5"), "are not those in it"),
        (lambda session: replace(session, "replay-00.timing.jsonl", '"tokens":4', '"tokens":5'), "other turns"),
        (lambda session: shutil.copy(session / "replay-00.logprobs.jsonl", session / "replay-02.logprobs.jsonl"), "does not list it"),
        (lambda session: change(session, "session.json", replays=3), "it says replays 3"),
        (lambda session: change(session, "session.json", variant="mtp"), "it says variant 'mtp'"),
        (lambda session: change(session, "session.json", session=5), "it says session 5"),
        (lambda session: change(session, "session.json", tokens=9), "it says 9 tokens"),
        (lambda session: change(session, "session.json", replay_tokens=[4, 5]), "has 5 tokens in it, 4 in"),
        (lambda session: change(session, "session.json", seconds=9.0), "it says 9.0 seconds"),
        (lambda session: change(session, "session.json", questions=99), "it says 99 questions"),
        (lambda session: change(session, "session.json", weights={"manifest_sha256": "0"}), "other weights"),
        (lambda session: change(session, "session.json", engine_record={}), "engine_record: it cannot be checked"),
        (lambda session: change(session, "session.json", engine_record={"engine": "x", "kind": "vllm", "runtime": "docker", "image": None, "digest": None}), "engine_record.kind is 'vllm'"),
        (lambda session: change(session, "session.json", workload={"name": "free-run", "sha256": ""}), "another workload"),
        (lambda session: (session / "session.json").write_text("{}"), "it cannot be checked: Object missing required field"),
        (lambda session: (session / "session.json").write_text("{"), "torn or not JSON"),
        (shutil.rmtree, "2 sessions of this cell, 1 are there"),
    ],
)  # fmt: skip
def test_a_session_that_disagrees_is_named_and_nothing_is_packed(
    home: Path, edit: Callable[[Path], object], words: str
) -> None:
    edit(home / BASE / "session-01")
    with pytest.raises(DataError, match=words) as refused:
        write_archive(home, home / "again.zip")
    assert BASE in str(refused.value)
    assert not (home / "again.zip").exists()


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        (lambda cell: replace(cell, "forced/pass-01.decode.jsonl", "2.125", "2.5"), "modes.decode"),
        (lambda cell: replace(cell, "forced.json", '"unequal_bits"', '"equal_bits"'), "unequal_bits"),
        (lambda cell: change(cell, "forced.json", transcript_sha256="0"), "transcript_sha256"),
        (lambda cell: shutil.rmtree(cell / "forced"), "forced.json"),
        (lambda cell: (cell / "forced.json").unlink(), "has a forced replay of this cell, and there is none"),
        (
            lambda cell: (cell / "forced.json").write_text("{}"),
            "forced.json: modes: it cannot be checked",
        ),
    ],
)
def test_forced_passes_that_disagree_are_named(
    home: Path, edit: Callable[[Path], object], words: str
) -> None:
    edit(home / BASE)
    with pytest.raises(DataError, match=words):
        write_archive(home, home / "again.zip")


# The description


@pytest.fixture
def graph(archive: Path) -> dict[str, Any]:
    with zipfile.ZipFile(archive) as packed:
        crate = json.loads(packed.read(METADATA))
    return {each["@id"]: each for each in crate["@graph"]}


def ids(value: Any) -> list[str]:
    return [each["@id"] for each in (value if isinstance(value, list) else [value])]


def test_every_session_is_an_action_with_all_that_it_ran_on(graph: dict[str, Any]) -> None:
    actions = [
        each for each in graph.values() if each["@type"] == "CreateAction" and "session" in each["name"]
    ]
    assert len(actions) == 4
    for action in actions:
        assert graph[ids(action["location"])[0]]["name"] == "a machine: a processor, 0 GPUs"
        instruments = ids(action["instrument"])
        assert instruments == ["scripts/run_session.py", f"#engine-{KEYS[2]}"]
        assert graph[instruments[1]]["softwareRequirements"] == {"@id": "envs/llamacpp.lock"}
        reads, writes = ids(action["object"]), ids(action["result"])
        assert {MANIFEST, ENGINE, WORKLOAD, "#weights-tinychart-dense-bf16"} <= set(reads)
        assert [Path(name).name for name in writes] == [
            *(
                f"replay-0{number}.{kind}.jsonl"
                for number in range(2)
                for kind in ("logprobs", "timing", "transcript")
            ),
            "session.json",
        ]
        assert action["startTime"] == "2026-01-02T03:04:05+00:00"
        assert {graph[name]["name"]: graph[name]["value"] for name in ids(action["environment"])} == {
            "OMP_NUM_THREADS": "1"
        }
        used = {graph[name]["name"]: graph[name]["value"] for name in ids(action["resourceUsage"])}
        assert used["seconds"] == 0.8
        assert used["tokens"] in (8, 43, 44)


def test_forced_replays_verdicts_and_pages_are_actions(graph: dict[str, Any]) -> None:
    forced = graph["#force_cell-forced-replay-of-tinychart-dense-bf16-llama-cpp-python-0.3.36-base"]
    assert f"{BASE}/session-00/replay-00.transcript.jsonl" in ids(forced["object"])
    assert len(ids(forced["result"])) == 5
    for name in (
        "results/table.md",
        "results/table.csv",
        "results/controls.json",
        PAGE,
        f"{JITTER}/cell.json",
    ):
        makers = [
            each["@id"]
            for each in graph.values()
            if each["@type"] == "CreateAction" and name in ids(each["result"]) and each["@id"] != "#run"
        ]
        assert len(makers) == 1, name


def test_every_file_is_described_with_its_sha256_and_every_reference_leads_somewhere(
    archive: Path, graph: dict[str, Any]
) -> None:
    with zipfile.ZipFile(archive) as packed:
        for name in packed.namelist():
            if name not in (METADATA, SUMS):
                assert graph[name]["sha256"] == sha256_bytes(packed.read(name)), name
                assert graph[name]["contentSize"] == str(len(packed.read(name)))
    outside = {"https://w3id.org/ro/crate/1.1", "https://w3id.org/ro/terms/workflow-run#DockerImage"}
    for entity in graph.values():
        for key, value in entity.items():
            for each in value if isinstance(value, list) else [value]:
                if isinstance(each, dict):
                    assert set(each) == {"@id"}, (entity["@id"], key)
                    assert each["@id"] in {*graph, *outside}, (entity["@id"], key, each)


def test_the_root_says_licence_citation_and_profiles(graph: dict[str, Any]) -> None:
    root = graph["./"]
    assert ids(root["license"]) == ["https://spdx.org/licenses/MIT"]
    assert ids(root["subjectOf"]) == ["CITATION.cff"]
    assert "https://w3id.org/ro/wfrun/provenance/0.5" in ids(root["conformsTo"])
    assert ids(root["mainEntity"]) == ["Snakefile"]
    assert root["datePublished"] == "2026-01-02T03:05:11+00:00"


def test_the_description_asks_nothing_of_the_machine(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No table of media types of the system: on another one the same data would be described otherwise."""
    import mimetypes

    monkeypatch.setattr(mimetypes, "guess_type", lambda *_args, **_more: ("application/x-elsewhere", None))
    assert found(archive) == []


def test_an_image_is_described_by_its_digest(home: Path) -> None:
    image = "docker.io/vllm/vllm-openai:v0.24.0"
    engine = {
        "engine": KEYS[2],
        "kind": "vllm",
        "runtime": "docker",
        "image": image,
        "digest": f"sha256:{'7' * 64}",
    }
    write_json(home / ENGINE, engine)
    for path in home.glob("results/cells/**/session.json"):
        change(home, str(path.relative_to(home)), engine_record=engine)
    write_archive(home, home / "again.zip")
    with zipfile.ZipFile(home / "again.zip") as packed:
        graph = {each["@id"]: each for each in json.loads(packed.read(METADATA))["@graph"]}
    found_image = graph[f"#image-{KEYS[2]}"]
    assert (found_image["registry"], found_image["name"], found_image["tag"], found_image["sha256"]) == (
        "docker.io",
        "vllm/vllm-openai",
        "v0.24.0",
        "7" * 64,
    )


# Two values


@pytest.mark.parametrize(
    ("one", "other", "places"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, ["a"]),
        ({"a": 1}, {}, ["a"]),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 3]}}, ["a.b[1]"]),
        ({"a": [1]}, {"a": [1, 2]}, ["a"]),
        ([], {}, [""]),
        (1, 1.0, []),
        (1, True, [""]),
        (0, False, [""]),
        (None, False, [""]),
        (None, 0, [""]),
        ("1", 1, [""]),
        (10**15, 10**15 + 1, [""]),
        (1.0, 1.0 + 1e-12, []),
        (1.0, 1.0 + 1e-6, [""]),
        (0.0, 1e-13, []),
        (0.0, 1e-9, [""]),
        (float("inf"), 1.0, [""]),
    ],
)
def test_where_two_values_differ(one: Any, other: Any, places: list[str]) -> None:
    assert [place for place, _, _ in unequal(one, other)] == places
    assert [place for place, _, _ in unequal(other, one)] == places


# The commands


def test_the_commands_say_what_they_found(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(home)
    done = command("write_archive", "--output", "again.zip")
    assert done.returncode == 0, done.stderr
    said = capsys.readouterr().out
    assert sha256_file(home / "again.zip") in said
    done = command("verify_archive", "again.zip")
    assert done.returncode == 0
    said = capsys.readouterr().out
    assert (
        "judged again: 2 cells with 4 sessions, 8 replays and 1 forced replays, 5 pages; everything agrees"
        in said
    )
    assert "of the modules that judged here are not those in the archive" in done.stderr
    wrong = edited(
        home / "again.zip",
        home / "wrong.zip",
        lambda folder: replace(folder, "results/table.md", "3/4", "4/4"),
    )
    done = command("verify_archive", str(wrong))
    assert done.returncode == 1
    assert "disagreement" in capsys.readouterr().out.splitlines()[-2]
    (home / BASE / "session-00/replay-00.transcript.jsonl").unlink()
    done = command("write_archive", "--output", "again.zip")
    assert done.returncode == 1
    assert "nothing is archived" in done.stderr


def test_the_code_that_is_archived_is_the_checkouts(tmp_path: Path) -> None:
    names = code_files(ROOT)
    assert {"Snakefile", "rules/archive.smk", "scripts/verify_archive.py", "envs/workflow.lock"} <= set(names)
    assert all(
        "__pycache__" not in name and not name.endswith((".pyc", ".safetensors", ".gguf")) for name in names
    )


def test_rows_of_two_archives_join_in_one_table_each_with_its_source(archive: Path, tmp_path: Path) -> None:
    other = tmp_path / "hers.zip"
    shutil.copyfile(archive, other)
    output = tmp_path / "joined.md"
    done = command("join", str(archive), str(other), "--output", str(output))
    assert done.returncode == 0, done.stderr
    page = output.read_text()
    rows = [line.split("|")[1].strip() for line in page.splitlines() if line.startswith("| ")]
    assert rows[0] == "source" and set(rows[1:]) == {"1", "2"}
    assert page.count(sha256_file(archive)) == 2 and "`hers.zip`" in page


def test_an_archive_that_does_not_follow_from_its_files_is_not_joined(archive: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken.zip"
    broken.write_bytes(archive.read_bytes()[:-10])
    done = command("join", str(archive), str(broken))
    assert done.returncode == 1 and "does not follow from what was measured" in done.stderr

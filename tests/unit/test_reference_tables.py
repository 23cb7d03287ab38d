"""Reference tables: packed small, unpacked whole, judged again; and those that are published hold."""

from __future__ import annotations

import os
import re
import tarfile
from pathlib import Path

import pytest
from msgspec.structs import replace

from scripts.archive.check import check_records
from scripts.archive.contents import GRID
from scripts.archive.costs import describe_costs
from scripts.archive.reference import (
    PACKED,
    pack_reference,
    unpack_reference,
    verify_reference,
    write_pages,
)
from scripts.common.errors import DataError
from scripts.common.files import read_json, write_json
from scripts.records.forced import Forced, ModeSummary
from scripts.records.grid import Grid
from scripts.records.machine import Gpu
from scripts.records.session import SessionRecord
from tests.unit.grids import BASE, write_grid

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in (ROOT / "results/reference").glob(f"*/{PACKED}"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """What a workflow leaves of a grid of two cells, eight replays, of which one differs."""
    return write_grid(tmp_path / "made")


def test_a_packed_grid_is_judged_again_and_agrees(root: Path, tmp_path: Path) -> None:
    size = pack_reference(root, tmp_path / "kept")
    assert size == sum(path.stat().st_size for path in (tmp_path / "kept").iterdir())
    counts, found = verify_reference(tmp_path / "kept")
    assert [str(each) for each in found] == []
    assert (counts.cells, counts.sessions, counts.replays, counts.forced) == (2, 4, 8, 1)
    assert re.fullmatch(
        r"0 GPU-minutes in 4 of 4 sessions, starts included; forced replays untimed", counts.costs
    )


def test_what_a_grid_cost_is_told_by_its_records(root: Path) -> None:
    forced = Forced.read(root / BASE / "forced.json")
    prefill = forced.modes.prefill
    assert isinstance(prefill, ModeSummary)
    seconds = prefill.positions * prefill.passes / 1000  # a thousand positions a second
    replace(forced, seconds={"prefill": seconds}, wall_seconds=90.0, gpus=4).write(
        root / BASE / "forced.json"
    )
    sessions = [SessionRecord.read(file) for file in (root / BASE).glob("session-*/session.json")]
    free = sum(each.tokens for each in sessions) / sum(each.seconds for each in sessions)
    said = describe_costs(root, Grid.read(root / GRID))
    assert "; 6 in 1 of 1 forced replays; " in said
    assert said.endswith(
        f"forced prefill compared 1,000 positions a second, free replays {free:,.0f}: {1000 / free:.1f} times"
    )
    assert list(check_records(root, Grid.read(root / GRID))) == []


def test_sessions_that_shared_a_card_cost_it_once(root: Path) -> None:
    """Two that overlap by half on one card, one alone after them, and one on two cards of which one was theirs."""
    times = [((0, 10), "a"), ((5, 15), "a"), ((20, 25), "a"), ((14, 24), "ab")]
    for file, ((begin, end), cards) in zip(sorted(root.rglob("session.json")), times, strict=True):
        session = SessionRecord.read(file)
        assert session.settings is not None and session.machine is not None
        replace(
            session,
            started=f"2026-01-01T00:{begin:02}:00+00:00",
            ended=f"2026-01-01T00:{end:02}:00+00:00",
            settings=replace(session.settings, gpus=len(cards)),
            machine=replace(session.machine, gpus=[Gpu(name="GPU", uuid=each) for each in cards]),
        ).write(file)
    said = describe_costs(root, Grid.read(root / GRID))
    assert said.startswith(
        "45 GPU-minutes in 4 of 4 sessions, starts included (35 of the cards that they shared)"
    )
    file = min(root.rglob("session.json"))
    replace(SessionRecord.read(file), machine=None).write(file)
    assert "(" not in describe_costs(root, Grid.read(root / GRID))


def test_equal_files_are_packed_once_and_come_back_whole(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    with tarfile.open(tmp_path / "kept" / PACKED) as packed:
        links = [entry.name for entry in packed if entry.islnk()]
    assert sum("transcript" in name for name in links) == 5  # of eight, three are distinct
    unpack_reference(tmp_path / "kept", tmp_path / "again")
    for path in sorted((root / BASE).rglob("*.jsonl")):
        assert (tmp_path / "again" / path.relative_to(root)).read_bytes() == path.read_bytes()


def test_two_packings_have_the_same_bytes(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "one")
    for path in root.rglob("*"):
        os.utime(path, (1, 1))
    pack_reference(root, tmp_path / "two")
    assert (tmp_path / "one" / PACKED).read_bytes() == (tmp_path / "two" / PACKED).read_bytes()


def test_a_figure_that_does_not_follow_is_named(root: Path, tmp_path: Path) -> None:
    summary = read_json(root / BASE / "cell.json")
    write_json(root / BASE / "cell.json", {**summary, "text_identical": 3})
    pack_reference(root, tmp_path / "kept")
    _, found = verify_reference(tmp_path / "kept")
    assert any("text_identical" in str(each) for each in found)


def test_a_table_beside_that_does_not_follow_is_named(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    table = tmp_path / "kept" / "table.md"
    table.write_text(table.read_text().replace("3/4", "4/4"))
    _, found = verify_reference(tmp_path / "kept")
    assert found
    assert all(each.where.startswith("results/table.md:") for each in found)
    write_pages(tmp_path / "kept")
    assert verify_reference(tmp_path / "kept")[1] == []
    table.unlink()
    assert verify_reference(tmp_path / "kept")[1][0].where == "table.md"


def test_a_record_that_disagrees_is_not_packed(root: Path, tmp_path: Path) -> None:
    (root / BASE / "session-01/replay-01.transcript.jsonl").write_text("{}\n")
    with pytest.raises(DataError, match="session-01"):
        pack_reference(root, tmp_path / "kept")


def test_a_torn_reference_says_so(root: Path, tmp_path: Path) -> None:
    pack_reference(root, tmp_path / "kept")
    packed = tmp_path / "kept" / PACKED
    packed.write_bytes(packed.read_bytes()[:-200])
    with pytest.raises(DataError, match="unpacked"):
        verify_reference(tmp_path / "kept")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: str(folder.name))
def test_every_figure_of_a_published_table_follows_from_its_files(folder: Path) -> None:
    counts, found = verify_reference(folder)
    assert [str(each) for each in found] == []
    assert counts.cells > 0

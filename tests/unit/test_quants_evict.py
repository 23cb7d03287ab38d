"""Weights that are deleted and had again: what goes, what stays, and what must be had before a cell can run."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from scripts.common.errors import DataError
from scripts.grid.asked import Asked
from scripts.grid.configuration import load_configuration
from scripts.grid.plan import Plan, manifest_file
from scripts.grid.resolve import built_from, evictable_quants, resolve_cells
from scripts.quants.evict import evict_quant, have_weights
from scripts.quants.manifest import NAME, make_manifest, write_manifest
from scripts.records.manifest import Evicted, WeightsSource


@pytest.fixture
def quant(tmp_path: Path) -> Path:
    folder = tmp_path / "quants/model/q8_0"
    (folder / "sub").mkdir(parents=True)
    (folder / ".cache").mkdir()
    for name in ("model.gguf", "sub/part.gguf", ".cache/half"):
        (folder / name).write_bytes(b"12345")
    about = {"model": "m", "precision": "q8_0", "quantised": "all"}
    write_manifest(folder, make_manifest(folder, **about, types={}, source=WeightsSource()))
    return folder


def test_all_goes_but_the_manifest(quant: Path, tmp_path: Path) -> None:
    before = (quant / NAME).read_bytes()
    assert have_weights(quant / NAME)
    assert evict_quant(quant, tmp_path / "gone.json") == 15
    assert [path.name for path in quant.iterdir()] == [NAME]
    assert (quant / NAME).read_bytes() == before
    said = Evicted.read(tmp_path / "gone.json")
    assert said == Evicted(files=2, bytes=10, at=said.at)
    have_weights.cache_clear()
    assert not have_weights(quant / NAME)
    assert evict_quant(quant, tmp_path / "gone.json") == 0, "killed in the midst, it can be called again"
    assert Evicted.read(tmp_path / "gone.json").at > said.at, "no two are equal"


def test_what_a_link_leads_to_stays(quant: Path, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    own = tmp_path / "own/weights.gguf"
    own.write_bytes(b"his")
    (quant / "own").symlink_to(own.parent)
    (quant / "weights.gguf").symlink_to(own)
    evict_quant(quant, tmp_path / "gone.json")
    assert own.read_bytes() == b"his" and [path.name for path in quant.iterdir()] == [NAME]


@pytest.mark.parametrize("missing", ["sub/part.gguf", NAME])
def test_one_missing_file_is_weights_that_are_gone(quant: Path, missing: str) -> None:
    (quant / missing).unlink()
    assert not have_weights(quant / NAME)


def test_nothing_is_deleted_without_a_manifest(quant: Path, tmp_path: Path) -> None:
    (quant / NAME).unlink()
    with pytest.raises(DataError, match=NAME):
        evict_quant(quant, tmp_path / "gone.json")
    assert (quant / "model.gguf").is_file() and not (tmp_path / "gone.json").exists()


@pytest.mark.parametrize(
    ("gone", "stays"),
    [([], False), (["q4_k_m"], False), (["q4_k_m", "bf16"], False), (["bf16"], True)],
)
def test_what_a_quant_is_built_from_is_needed_only_where_the_quant_is_gone(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gone: list[str], stays: bool
) -> None:
    configuration = load_configuration(root, {"grid": "embedded"})
    cells = resolve_cells(configuration)
    cell = next(cell for cell in cells if cell.precision == "q4_k_m" and cell.model == "tinychart-dense")
    chain = [("tinychart-dense", "q4_k_m"), ("tinychart-dense", "bf16")]
    assert built_from(configuration, cell) == chain
    assert set(chain) <= set(evictable_quants(configuration, cells))
    monkeypatch.chdir(tmp_path)
    for model, precision in chain:
        weights = Path(manifest_file(model, precision)).with_name("model.gguf")
        weights.parent.mkdir(parents=True)
        weights.write_bytes(b"12345")
        about = {"model": model, "precision": precision, "quantised": "all"}
        write_manifest(
            weights.parent, make_manifest(weights.parent, **about, types={}, source=WeightsSource())
        )
        if precision in gone:
            weights.unlink()
    have_weights.cache_clear()
    plan = Plan(configuration, tuple(cells), Asked())
    assert plan.source_stays_gone(*chain[0], "build_quant") is stays
    again = Plan(configuration, tuple(cells), Asked(forcerun=("build_quant",)))
    assert not again.source_stays_gone(*chain[0], "build_quant")


def test_the_owners_own_folder_is_never_deleted(root: Path) -> None:
    configuration = load_configuration(root, {"grid": "embedded"})
    cells = resolve_cells(configuration)
    model = configuration.models["tinychart-dense"]
    own = replace(model.precisions["bf16"], local_path="/mnt/own")
    configuration.models["tinychart-dense"] = replace(model, precisions={**model.precisions, "bf16": own})
    found = evictable_quants(configuration, cells)
    assert ("tinychart-dense", "bf16") not in found and ("tinychart-dense", "q4_k_m") in found

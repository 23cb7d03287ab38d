"""A grid that wants GPUs where there are none is refused, unless what it wants them for is there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from scripts.common.errors import DataError, EngineError
from scripts.grid.configuration import load_configuration
from scripts.grid.machine import check_chat_forms, check_machine
from scripts.grid.resolve import Cell, resolve_cells
from scripts.records.engines import EngineEntry

ROOT = Path(__file__).parents[2]
ENGINES = {
    "vllm-0.25.1": EngineEntry(kind="vllm", runtime="process", arguments={}, gpus=1),
    "llama-cpp-python-0.3.36": EngineEntry(kind="llama-cpp-python", runtime="process", arguments={}),
}


def cells(grid: str) -> list[Cell]:
    return resolve_cells(load_configuration(ROOT, {"grid": grid}))


def check(root: Path, *grids: str, gpus: tuple[str, ...] = ()) -> None:
    check_machine(root, [cell for grid in grids for cell in cells(grid)], ENGINES, lambda: list(gpus))


def test_without_gpus_a_grid_that_wants_them_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        EngineError, match="vllm-0.25.1: NVIDIA GPUs are wanted, and nvidia-smi names none here"
    ):
        check(tmp_path, "hopper")
    check(tmp_path, "hopper", gpus=("NVIDIA H100",))
    check(tmp_path, "embedded")
    check(tmp_path, "embedded", "hopper")


def test_a_grid_that_wants_more_gpus_than_there_are_is_refused(tmp_path: Path) -> None:
    two = [cell for cell in cells("hopper-cards") if cell.engine == "vllm-0.25.1-tp2"]
    engines = {"vllm-0.25.1-tp2": EngineEntry(kind="vllm", runtime="process", arguments={}, gpus=2)}
    with pytest.raises(EngineError, match="2 NVIDIA GPUs are wanted, and nvidia-smi names 1 here"):
        check_machine(tmp_path, two, engines, lambda: ["NVIDIA H100"])
    check_machine(tmp_path, two, engines, lambda: ["NVIDIA H100"] * 2)


def test_what_was_run_elsewhere_wants_no_gpu(tmp_path: Path) -> None:
    waiting = [cell for cell in cells("hopper") if cell.planned is None]
    for cell in waiting[1:]:
        path = tmp_path / cell.folder / "cell.json"
        path.parent.mkdir(parents=True)
        path.touch()
    with pytest.raises(EngineError):
        check(tmp_path, "hopper")
    for file in waiting[0].session_files:
        (tmp_path / file).parent.mkdir(parents=True)
        (tmp_path / file).touch()
    check(tmp_path, "hopper")


def test_a_template_that_refuses_what_is_asked_is_found_before_weights_are_built(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name in ("resources/tinychart", "resources/random"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.safetensors"))
    configuration = load_configuration(tmp_path, {"grid": "embedded"})
    rows = resolve_cells(configuration)
    check_chat_forms(configuration, rows)
    template = tmp_path / "resources/tinychart/chat_template.jinja"
    template.write_text("{{ raise_exception('no system prompt here') }}")
    with pytest.raises(DataError, match="tinychart: .*refused the conversation: no system prompt here"):
        check_chat_forms(configuration, rows)
    for cell in rows:
        (tmp_path / cell.folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / cell.folder / "cell.json").touch()
    check_chat_forms(configuration, rows)  # what is there is asked nothing more

"""The grid blackwell: every row of the finding, what its text adds, and what tells causes apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts.grid.ablations import resolve_ablations
from scripts.grid.configuration import Configuration, load_configuration
from scripts.grid.describe import describe_grid, grid_record
from scripts.grid.resolve import Cell, cell_settings, resolve_cells

ROOT = Path(__file__).parents[2]
FINDING = [
    "qwen3.6-27b/bf16",
    "qwen3.6-27b/awq-int4",
    "qwen3.5-264b-reap35/fp8-experts",
    "qwen3.5-122b-a10b/bf16",
    "qwen3.5-122b-a10b/fp8",
    "qwen3.5-122b-a10b/nvfp4",
    "qwen3.5-397b-a17b/nvfp4",
]
ADDED = [
    "qwen3.6-27b/fp8",
    "qwen3.6-27b/nvfp4",
    "qwen3.5-122b-a10b/gptq-int4",
    "qwen3.5-397b-a17b/awq-int4",
    "qwen3.5-397b-a17b/nvfp4-lukealonso",
    "qwen3.5-397b-a17b/q6_k",
]


@pytest.fixture(scope="module")
def configuration() -> Configuration:
    return load_configuration(ROOT, {"grid": "blackwell"})


@pytest.fixture(scope="module")
def cells(configuration: Configuration) -> list[Cell]:
    return resolve_cells(configuration)


def test_the_seven_rows_of_the_finding_come_first(cells: list[Cell]) -> None:
    first = cells[: len(FINDING)]
    assert sorted(f"{cell.model}/{cell.precision}" for cell in first) == sorted(FINDING)
    assert all(
        cell.variant == "base" and cell.engine == "vllm-0.24.0-tp4" and cell.planned is None for cell in first
    )


def test_every_system_that_its_text_adds_is_a_row(cells: list[Cell]) -> None:
    run = {
        f"{cell.model}/{cell.precision}" for cell in cells if cell.variant == "base" and cell.planned is None
    }
    assert set(ADDED) <= run


def test_what_tells_causes_apart_is_there(cells: list[Cell]) -> None:
    rows = {cell.path for cell in cells if cell.planned is None}
    assert {"qwen3.6-27b/bf16/vllm-0.24.0/base", "qwen3.6-27b/bf16/vllm-0.24.0-tp4/base"} <= rows
    engines = {
        cell.engine for cell in cells if cell.model == "qwen3.5-397b-a17b" and cell.precision == "nvfp4"
    }
    assert {"vllm-0.24.0-tp4", "vllm-0.31.0-tp4", "sglang-0.5.17-tp4", "sglang-tuned-tp4"} <= engines
    variants = {cell.variant for cell in cells}
    assert {"moe-triton", "moe-marlin", "moe-cutlass", "moe-flashinfer-cutlass", "moe-b12x"} <= variants
    assert {"deterministic", "mtp", "prefix-cache", "kv-fp8", "kv-bf16", "warm-tuning", "leaky"} <= variants


def test_every_change_is_on_a_page_against_its_baseline(
    configuration: Configuration, cells: list[Cell]
) -> None:
    asked = {cell for each in resolve_ablations(configuration, cells) for cell in each.cells}
    changes = {
        (cell.model, cell.precision, cell.engine, cell.variant)
        for cell in cells
        if cell.variant not in ("base", "leaky")
    }
    assert changes and changes <= asked
    assert sum(variant == "routed-experts" for *_, variant in changes) == 3


def test_what_does_not_fit_is_planned_with_the_memory_it_needs(cells: list[Cell]) -> None:
    planned = {f"{cell.model}/{cell.precision}": cell.planned for cell in cells if cell.planned}
    assert "900 GB of GPU memory, three machines" in str(planned["qwen3.5-397b-a17b/bf16"])
    assert "450 GB" in str(planned["qwen3.5-397b-a17b/fp8"])


def test_each_row_says_its_disk_and_its_gpu_memory_and_fits(
    configuration: Configuration, cells: list[Cell]
) -> None:
    card = 102.6  # RTX PRO 6000, 10^9 bytes
    for row, cell in zip(grid_record(configuration, cells).cells, cells, strict=True):
        assert row.disk_gb is not None and row.disk_gb > 0 and row.gpu_memory_gb is not None
        gpus = configuration.engines[cell.engine].gpus
        assert cell.planned or row.gpu_memory_gb <= gpus * card, cell.path


def test_the_line_says_what_is_pulled_and_what_it_costs(
    configuration: Configuration, cells: list[Cell]
) -> None:
    line = describe_grid(configuration, cells)
    pulled = re.search(r"pulls ([\d,.]+) GB", line)
    assert pulled and float(pulled[1].replace(",", "")) > 2000
    assert "GPU-hours" in line


def test_the_cache_of_the_weights_precision_is_not_confounded(
    configuration: Configuration, cells: list[Cell]
) -> None:
    for cell in cells:
        settings = cell_settings(configuration, cell)
        if cell.variant == "base" and settings.kind == "vllm":
            assert settings.arguments["kv_cache_dtype"] == "bfloat16"
            assert settings.arguments["enable_prefix_caching"] is False
            assert settings.arguments["max_num_seqs"] == 1


def test_images_are_pinned_by_digest_and_repositories_by_commit() -> None:
    engines = yaml.safe_load((ROOT / "config/engines.yaml").read_text())["engines"]
    moving = {
        name for name, entry in engines.items() if "image" in entry and "@sha256:" not in entry["image"]
    }
    assert moving == {"sglang-tuned-tp4"}, "a moving tag, of which no digest is known"
    models = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    floating = {
        f"{model}/{name}"
        for model, entry in models.items()
        for name, quant in entry["precisions"].items()
        if "repository" in quant and quant["revision"] is None
    }
    assert floating == {"qwen3.5-397b-a17b/nvfp4-lukealonso", "qwen3.5-264b-reap35/bf16"}

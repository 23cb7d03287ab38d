"""The finding's grids: each row of it and what its text adds in one night, then what tells causes and engines apart."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from scripts.grid.ablations import resolve_ablations
from scripts.grid.configuration import Configuration, load_configuration
from scripts.grid.describe import (
    describe_downloads,
    describe_grid,
    describe_rest,
    describe_unproven,
    grid_record,
    wall_seconds,
)
from scripts.grid.resolve import Cell, cell_settings, resolve_cells

ROOT = Path(__file__).parents[2]
GRIDS = ("finding", "finding-causes", "finding-engines")
NIGHT = 12 * 3600
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
# Arguments that no SGLang has but the tuned one.
TUNED = {"b12x", "enable_pcie_oneshot_allreduce"}

Grid = tuple[Configuration, list[Cell]]


@pytest.fixture(scope="module")
def grids() -> dict[str, Grid]:
    loaded = {name: load_configuration(ROOT, {"grid": name}) for name in GRIDS}
    return {name: (each, resolve_cells(each)) for name, each in loaded.items()}


@pytest.fixture(scope="module")
def cells(grids: dict[str, Grid]) -> list[Cell]:
    """The cells of all three."""
    return [cell for _, rows in grids.values() for cell in rows]


def test_the_seven_rows_of_the_finding_come_first_and_what_its_text_adds_follows(
    grids: dict[str, Grid],
) -> None:
    _, rows = grids["finding"]
    assert [f"{cell.model}/{cell.precision}" for cell in rows] == [*FINDING, *ADDED, "qwen3.6-27b/bf16"]
    assert all(cell.variant == "base" and cell.planned is None for cell in rows[:-1])
    assert {cell.engine for cell in rows} == {"vllm-0.24.0-tp4", "llamacpp-b11206"}
    assert rows[-1].variant == "leaky" and rows[-1].expect == ("harness",)
    assert all("expected" in str(cell.note) for cell in rows[:-1]), "each row names the kernel it should have"


def test_four_cards_make_the_whole_first_table_in_a_night(grids: dict[str, Grid]) -> None:
    configuration, rows = grids["finding"]
    sessions = [
        (configuration.engines[cell.engine].gpus, cell.seconds / cell.sessions)
        for cell in rows
        for _ in range(cell.sessions)
    ]
    assert wall_seconds(sessions, 4) < NIGHT
    assert all(cell.replays == 2 for cell in rows), "what differs inside a start, and from start to start"
    said = describe_rest(Path("/nowhere"), rows, configuration.engines, 4)
    assert re.search(r"\d+\.\d hours on 4 GPUs, \d+\.\d GPU-hours; taken: 20,000 tokens a replay", said)
    downloads = describe_downloads(configuration, rows)
    assert re.match(r"2,\d\d\d\.\d GB are to be pulled beside that, \d\.\d hours at 1 Gbit/s", downloads)
    assert downloads.endswith("--until fetch_weights pull_image --config grid=finding")


def test_what_one_grid_ran_counts_in_the_next(grids: dict[str, Grid]) -> None:
    asked: dict[str, set[tuple[int, str, str]]] = {}
    for configuration, rows in grids.values():
        for cell in rows:
            settings = str(cell_settings(configuration, cell).as_json())
            asked.setdefault(cell.path, set()).add((cell.replays, cell.workload, settings))
    assert all(len(each) == 1 for each in asked.values())
    first, causes = ({cell.path for cell in grids[name][1]} for name in GRIDS[:2])
    assert len(first & causes) >= 6


def test_what_tells_causes_apart_is_there(cells: list[Cell]) -> None:
    rows = {cell.path for cell in cells if cell.planned is None}
    assert {"qwen3.6-27b/bf16/vllm-0.24.0/base", "qwen3.6-27b/bf16/vllm-0.24.0-tp4/base"} <= rows
    variants = {cell.variant for cell in cells}
    assert {"moe-triton", "moe-marlin", "moe-cutlass", "moe-flashinfer-cutlass", "moe-deep-gemm"} <= variants
    assert {
        "marlin-sorted-tokens",
        "sglang-fused-finalize",
        "warm-tuning",
        "gdn-warps-4",
        "gdn-warps-8",
    } <= variants
    assert {"deterministic", "mtp", "prefix-cache", "kv-fp8", "kv-bf16", "leaky"} <= variants
    engines = {cell.engine for cell in cells if f"{cell.model}/{cell.precision}" == FINDING[-1]}
    assert {"vllm-0.33.0-tp4", "vllm-0.31.0-tp4", "vllm-0.24.0-tp4"} <= engines
    assert {"sglang-0.5.23-tp4", "sglang-0.5.17-tp4", "sglang-0.5.14-tp4", "sglang-tuned-tp4"} <= engines


@pytest.mark.parametrize("name", GRIDS[1:])
def test_every_change_is_on_a_page_against_its_baseline(grids: dict[str, Grid], name: str) -> None:
    configuration, rows = grids[name]
    asked = {cell for each in resolve_ablations(configuration, rows) for cell in each.cells}
    changes = {cell.names for cell in rows if cell.variant not in ("base", "leaky")}
    assert changes and changes <= asked
    assert describe_unproven(configuration, rows) == ""


def test_the_determinism_flag_is_expected_to_be_refused_by_vllm(cells: list[Cell]) -> None:
    flagged = [cell for cell in cells if cell.variant == "deterministic"]
    assert len(flagged) == 5
    assert all((cell.expect == ("refused",)) is cell.engine.startswith("vllm") for cell in flagged)


def test_what_only_the_tuned_sglang_has_is_asked_of_no_other(grids: dict[str, Grid]) -> None:
    for configuration, rows in grids.values():
        for cell in rows:
            settings = cell_settings(configuration, cell)
            said = TUNED & {*settings.arguments, *map(str, settings.arguments.values())}
            assert not said or cell.engine == "sglang-tuned-tp4" or settings.kind != "sglang", cell.path
            assert "speculative_algo" not in settings.arguments


def test_what_does_not_fit_is_planned_with_the_memory_it_needs(cells: list[Cell]) -> None:
    planned = {f"{cell.model}/{cell.precision}": cell.planned for cell in cells if cell.planned}
    assert "900 GB of GPU memory, three machines" in str(planned["qwen3.5-397b-a17b/bf16"])
    assert "450 GB" in str(planned["qwen3.5-397b-a17b/fp8"])


def test_each_row_says_its_disk_and_its_gpu_memory_and_fits(grids: dict[str, Grid]) -> None:
    card = 102.6  # RTX PRO 6000, 10^9 bytes
    for configuration, rows in grids.values():
        for row, cell in zip(grid_record(configuration, rows).cells, rows, strict=True):
            assert row.disk_gb is not None and row.disk_gb > 0 and row.gpu_memory_gb is not None
            gpus = configuration.engines[cell.engine].gpus
            assert cell.planned or row.gpu_memory_gb <= gpus * card, cell.path


def test_the_line_says_what_is_pulled_and_what_it_costs(grids: dict[str, Grid]) -> None:
    line = describe_grid(*grids["finding"])
    pulled = re.search(r"pulls ([\d,.]+) GB", line)
    assert pulled and float(pulled[1].replace(",", "")) > 2000
    assert "GPU-hours" in line


def test_the_cache_of_the_weights_precision_is_not_confounded(grids: dict[str, Grid]) -> None:
    for configuration, rows in grids.values():
        for cell in rows:
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
    assert moving == {"sglang-tuned-tp4", "vllm-0.33.0-tp4", "sglang-0.5.23-tp4"}, (
        "of these no digest is known"
    )
    models = yaml.safe_load((ROOT / "config/models.yaml").read_text())
    floating = {
        f"{model}/{name}"
        for model, entry in models.items()
        for name, quant in entry["precisions"].items()
        if "repository" in quant and quant["revision"] is None
    }
    assert floating == {"qwen3.5-397b-a17b/nvfp4-lukealonso", "qwen3.5-264b-reap35/bf16"}

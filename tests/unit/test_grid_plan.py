"""What the rules ask: files, parameters and resources of jobs, without Snakemake."""

from __future__ import annotations

import inspect
import json
import os
import re
import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from scripts.grid.asked import Asked
from scripts.grid.begin import wants_sessions
from scripts.grid.configuration import load_configuration
from scripts.grid.large import first
from scripts.grid.plan import NONE, Plan, is_gone, manifest_file, one_of
from scripts.grid.resolve import resolve_cells
from scripts.quants.evict import evicted_file, have_weights
from scripts.records.manifest import Evicted, Manifest, ManifestFile, WeightsSource
from scripts.records.models import Precision
from scripts.records.question import QuestionAsked
from scripts.records.settings import Settings
from tests.nvidia import write_nvidia_smi
from tests.unit.test_grid_configuration import ASKED as QUESTION
from tests.unit.test_grid_configuration import EMBEDDED, ENGINE, edit, look, tree  # noqa: F401 (fixtures)

BASE = ("tinychart-dense", "q4_k_m", ENGINE, "base")
FOLDER = f"results/cells/{'/'.join(BASE)}"
SESSION = f"{FOLDER}/session-00/session.json"
BF16, Q4 = ("tinychart-dense", "bf16"), ("tinychart-dense", "q4_k_m")


def plan_of(root: Path, asked: Asked | None = None, **overrides: object) -> Plan:
    configuration = load_configuration(root, {"grid": "embedded", **overrides})
    return Plan(configuration, tuple(resolve_cells(configuration)), asked or Asked())


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder in which the plan looks for files."""
    monkeypatch.chdir(tmp_path)
    have_weights.cache_clear()
    return tmp_path


def touch(*files: str) -> None:
    for file in files:
        Path(file).parent.mkdir(parents=True, exist_ok=True)
        Path(file).touch()


def write_quant(model: str, precision: str, *, gone: bool) -> None:
    """The manifest of a quant of one file, and the file unless it is gone."""
    path = Path(manifest_file(model, precision))
    Manifest(
        model=model,
        precision=precision,
        files=[ManifestFile(path="model.gguf", size=1, sha256="0" * 64)],
        bytes=1,
        quantised="all",
        tensor_types={},
        source=WeightsSource(),
    ).write(path)
    if not gone:
        (path.parent / "model.gguf").touch()
    have_weights.cache_clear()


def test_a_constraint_takes_these_names_and_nothing_else() -> None:
    assert re.fullmatch(one_of(["q8_0", "a.b"]), "a.b") and not re.fullmatch(one_of(["a.b"]), "axb")
    assert one_of([]) == NONE and not re.match(NONE, "")


def test_a_function_of_a_rule_takes_the_names_that_it_is_for() -> None:
    ask: Callable[..., tuple[str, ...]] = lambda *names: names  # noqa: E731
    assert first(2, ask)(("m", "p", "e", "v")) == ("m", "p")
    assert list(inspect.signature(first(2, ask)).parameters) == ["wildcards"]


def test_a_cell_is_summarised_from_its_sessions_and_its_forced_replay(root: Path, here: Path) -> None:
    plan = plan_of(root)
    sessions = [f"{FOLDER}/session-{number:02d}/session.json" for number in range(2)]
    assert plan.sessions(*BASE, look=str) == sessions and plan.rounds(*BASE, look=str) == []
    assert plan.forced(*BASE) == [f"{FOLDER}/forced.json"]
    assert f"{FOLDER}/cell.json" in plan.summaries(plan.shown) and len(plan.shown) == 16
    assert set(sessions) <= set(plan.session_records(plan.shown))


def test_a_partial_table_is_made_of_what_exists(root: Path, here: Path) -> None:
    plan = plan_of(root, partial=True)
    assert plan.shown == [] and plan.forced(*BASE) == [] and plan.evictable == []
    touch(SESSION)
    plan = plan_of(root, partial=True)
    assert [cell.names for cell in plan.shown] == [BASE]
    assert plan.sessions(*BASE, look=str) == [SESSION] and plan.manifests() == []
    touch(f"{FOLDER}/forced.json", manifest_file(*Q4))
    assert plan.forced(*BASE) == [f"{FOLDER}/forced.json"] and plan.manifests() == [Q4]


def test_the_sessions_of_a_question_are_found_out_round_by_round(
    tree: Path,  # noqa: F811
    edit: Callable[[str, str, str], None],  # noqa: F811
    here: Path,
) -> None:
    edit(EMBEDDED, "\n    variants: [prompt-cache]\n", QUESTION)
    plan = plan_of(tree)
    names = ("tinychart-dense", "q6_k", ENGINE, "prompt-cache")
    cell, asked = plan.cells[names], []

    def round_file(number: int) -> str:
        asked.append(number)
        return cell.round_files[number]

    for number, more in enumerate((True, False)):
        look(here / cell.round_files[number], more=more)
    assert plan.sessions(*names, look=round_file) == cell.session_files[:2] and asked == [0, 1]
    assert plan.rounds(*names, look=round_file) == cell.round_files[:2]
    assert plan.sessions_to(*names, "01") == cell.session_files[:2]
    assert cell.session_files[0] not in plan.session_records([cell])
    flag, question, option, count = shlex.split(plan.question_after(*names, "01"))
    assert (flag, option, count) == ("--question", "--sessions", "2")
    assert msgspec.json.decode(question, type=QuestionAsked) == cell.question
    assert plan.question(*BASE, sessions=3) == ""


def test_a_cells_commands_get_its_settings(root: Path) -> None:
    plan = plan_of(root)
    folder, settings, *rest = shlex.split(plan.session_arguments(*BASE))
    assert (folder, rest) == (FOLDER, ["--replays", "3"])
    read = msgspec.json.decode(settings.removeprefix("--settings="), type=Settings)
    assert (read.model, read.precision, read.engine, read.variant) == BASE
    assert shlex.split(plan.force_arguments(*BASE))[2:] == ["--prefill-passes", "2", "--decode-passes", "2"]
    assert plan.workload(*BASE) == "config/workloads/chartist-mini.yaml" and plan.workspace(*BASE) == ()
    assert plan.session_code(*BASE) != plan.force_code(*BASE)
    assert ".envs/llamacpp-" in plan.python(*BASE)
    assert (plan.cores, plan.takes_gpus, plan.session_gpu_memory(*BASE[:3])) == (1, False, 0)
    assert plan.session_resources == {} and plan.local_gpus == 0


def test_engines_are_set_up_from_their_lock_or_their_folder(root: Path) -> None:
    plan = plan_of(root)
    assert re.fullmatch(plan.engines_with(lambda entry: entry.lock), ENGINE)
    assert not re.fullmatch(plan.engines_with(lambda entry: entry.build), ENGINE)
    assert plan.engine_sources(ENGINE)[0] == "envs/llamacpp.lock"
    built = next(name for name, entry in plan.configuration.engines.items() if entry.build)
    build = plan.engine(built).build
    assert build is not None
    sources = plan.engine_sources(built)
    assert sources == sorted(sources) and f"{build.folder}/Dockerfile" in sources
    assert json.loads(plan.engine_entry(ENGINE))["kind"] == "llama-cpp-python"
    assert (plan.builder("process"), plan.builder("docker")) == (ENGINE, None)
    assert plan.builder_python("docker") == "python" != plan.builder_python("process")


def test_gpus_and_their_memory_follow_from_the_cells_of_the_grid(root: Path) -> None:
    plan = plan_of(root, grid="hopper")
    assert plan.takes_gpus and plan.session_gpus("random-dense", "bf16", "vllm-0.25.1") == 1
    assert set(plan.session_resources) == {"gpu", "gpu_gb"}
    assert plan.engine_gpu_memory("vllm-0.25.1") == 12
    assert plan.session_gpu_memory("random-dense", "bf16", "vllm-0.25.1") == 6
    assert (
        plan.serving_gpus("random-dense", "bf16") == 1 and plan.serving_gpus("tinychart-dense", "q4_k_m") == 0
    )


def test_the_first_sessions_of_all_come_before_the_second_of_any_and_weights_in_between(root: Path) -> None:
    """However many the scheduler adds up: eight GPUs hold eight sessions on one."""
    plan = plan_of(root, grid="hopper-cards")
    one, two = ("random-dense", "bf16", "vllm-0.25.1"), ("random-dense", "bf16", "vllm-0.25.1-tp2")
    first, second, later = (plan.session_priority(*one, "base", number) for number in ("00", "01", "07"))
    assert first > 64 * second > 64 * 64 * later / 8
    assert plan.session_priority(*two, "base", "00") > 2 * first
    made, pulled = plan.bring_priority(pulled=False), plan.bring_priority(pulled=True)
    assert first > made > pulled > 64 * second
    assert plan.force_priority(*one, "base") == second
    evicting = plan_of(root, grid="hopper-cards", evict_weights=True)
    assert evicting.bring_priority(pulled=True) == 0 < later


def test_the_gpus_of_this_machine_are_shared_out_where_nobody_says_how_many(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_nvidia_smi(tmp_path, 81559, 81559, 81559)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,0")
    grid = {"grid": "hopper-cards"}
    assert plan_of(root, **grid).local_gpus == 2
    assert plan_of(root, grid="embedded").local_gpus == 0
    for asked in (Asked(resources=("gpu",)), Asked(resources=("gpu_gb",)), Asked(executor="slurm")):
        assert plan_of(root, asked, **grid).local_gpus == 0
    assert plan_of(root, Asked(executor="slurm"), **grid).serving_gpus("random-dense", "bf16") == 0


def test_weights_come_by_a_recipe_from_another_precision_or_a_checkpoint(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root)
    plan = plan_of(root)
    built, converted = plan.quants_with("llama-quantize"), plan.quants_with("gguf-bf16")
    assert re.match(built, "tinychart-dense/q8_0/manifest") and not re.match(
        built, "tinychart-dense/bf16/manifest"
    )
    assert re.match(converted, "tinychart-dense/bf16/manifest")
    assert (plan.source_quant(*Q4), plan.source_quant(*BF16)) == (BF16, None)
    assert plan.quant_files(*Q4) == []
    assert plan.quant_files(*BF16)[:2] == [
        f"resources/tinychart/dense/{name}" for name in ("config.json", "model.safetensors")
    ]
    assert all((root / file).is_file() for file in plan.quant_files(*BF16))
    assert plan.quant_files("random-dense", "bf16")[0].endswith("/config.json")
    assert len(plan.quant_content(*BF16)) == 16 and plan.quant_content(*BF16) == plan.quant_content(*BF16)
    (entry,) = shlex.split(plan.quant_entry(*Q4))
    assert msgspec.json.decode(entry, type=Precision) == plan.configuration.precision(*Q4)


def test_a_served_precision_is_given_its_tokenizer(root: Path) -> None:
    endpoint = {"grid": "external", "endpoint": "http://127.0.0.1:1/v1", "tokenizer": "a/folder"}
    plan = plan_of(root, **endpoint)
    cell = plan.rows[0]
    (entry,) = shlex.split(plan.quant_entry(cell.model, cell.precision))
    assert json.loads(entry)["tokenizer_path"] == "a/folder"
    assert "tokenizer_path" not in plan_of(root, **{**endpoint, "tokenizer": None}).quant_entry(
        cell.model, cell.precision
    )
    assert "--set=endpoint=http://127.0.0.1:1/v1" in plan.grid_settings


def test_weights_stay_gone_for_what_is_there_and_not_made_again(root: Path, here: Path) -> None:
    plan = plan_of(root)
    touch(SESSION)
    assert not plan.stays_gone(*Q4, SESSION, "run_session"), "nothing was deleted: they never were"
    write_quant(*Q4, gone=True)
    assert is_gone(*Q4) and plan.stays_gone(*Q4, SESSION, "run_session")
    assert not plan.stays_gone(*Q4, SESSION.replace("-00", "-01"), "run_session"), "a session is missing"
    for asked in (Asked(forcerun=(SESSION,)), Asked(forcerun=("run_session",)), Asked(force_all=True)):
        assert not replace(plan, asked=asked).stays_gone(*Q4, SESSION, "run_session")
    write_quant(*Q4, gone=False)
    assert not is_gone(*Q4) and not plan.stays_gone(*Q4, SESSION, "run_session")


def test_a_source_is_had_again_for_a_precision_that_never_was(root: Path, here: Path) -> None:
    plan = plan_of(root)
    write_quant(*BF16, gone=True)
    assert not plan.source_stays_gone(*Q4, "build_weights")
    write_quant(*Q4, gone=False)
    assert plan.source_stays_gone(*Q4, "build_weights") and not plan.source_stays_gone(
        *BF16, "convert_weights"
    )


def test_weights_are_deleted_after_all_that_uses_them(root: Path, here: Path) -> None:
    plan = plan_of(root, evict_weights=True)
    assert {BF16, Q4} <= set(plan.evictable)
    assert {names[1] for names in plan.users(*BF16)} == {"bf16", "q6_k", "q4_k_m"}
    assert {names[:2] for names in plan.users(*Q4)} == {Q4}
    assert plan.evicted(*Q4) == []
    touch(evicted_file(*Q4))
    assert plan.evicted(*Q4) == [evicted_file(*Q4)]


def test_what_is_gone_is_said_after_its_manifest_was_written(root: Path, here: Path) -> None:
    plan = plan_of(root)
    write_quant(*BF16, gone=False)
    write_quant(*Q4, gone=True)
    said = Path(evicted_file(*Q4))
    plan.note_deletions()
    first_time = Evicted.read(said)
    assert (first_time.files, first_time.bytes) == (1, 1), "deleted by hand"
    assert not Path(evicted_file(*BF16)).exists(), "nothing is gone"
    plan.note_deletions()
    assert Evicted.read(said) == first_time
    os.utime(said, (1, 1))
    plan.note_deletions()
    assert Evicted.read(said).at > first_time.at, "its manifest is newer: it was restored"


def test_pages_are_made_from_the_cells_that_they_name(root: Path, here: Path) -> None:
    plan = plan_of(root)
    page = plan.ablations[0]
    summaries = plan.ablated(page.model, page.precision, page.engine)
    assert summaries == [f"results/cells/{'/'.join(names)}/cell.json" for names in page.cells]
    assert plan.ablated("tinychart-dense", "bf16", ENGINE) == []
    assert "results/leak.md" in plan.side
    assert plan_of(root, first_block=8).grid_settings == ["--set=first_block=8"]


@pytest.mark.parametrize(
    ("asked", "partial", "wanted"),
    [
        (Asked(), False, True),
        (Asked(targets=("results/table.md",)), False, True),
        (Asked(targets=("results/engines/a.json", "results/grid.json")), False, False),
        (Asked(targets=("results/engines/a.json", "results/table.md")), False, True),
        (Asked(until=("build_weights",)), False, False),
        (Asked(), True, False),
    ],
)
def test_gpus_are_looked_for_where_sessions_are_asked_for(
    root: Path, asked: Asked, partial: bool, wanted: bool
) -> None:
    assert wants_sessions(plan_of(root, asked, partial=partial)) is wanted

"""The caches that a server gets, and what is read in them."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from scripts.engines import tuning
from scripts.engines.tuning import cache_states, process_caches, read_chosen, read_flashinfer
from scripts.records.settings import Settings
from scripts.records.tuning import Tuned
from tests.engines.serving import kind_settings

# As Triton 3.6 writes it: Autotuner.check_disk_cache.
CONFIG = {
    "num_warps": 4,
    "num_ctas": 1,
    "num_stages": 3,
    "maxnreg": None,
    "pre_hook": None,
    "ir_override": None,
}


def write_choice(
    folder: Path, rank: int, kernel: str, key: list[object], timings: list[tuple[int, object]]
) -> None:
    path = folder / f"rank-{rank}" / f"LDZ6.{kernel}.autotune.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    configs = [({"kwargs": {"BK": 64}, **CONFIG, "num_warps": warps}, seconds) for warps, seconds in timings]
    path.write_text(json.dumps({"key": key, "configs_timings": configs}))


def test_the_least_time_is_the_choice_and_of_equal_ones_the_first(tmp_path: Path) -> None:
    tie = [(2, [0.02, 0.02, 0.02]), (4, [0.01, 0.01, 0.03]), (8, [0.01, 0.01, 0.03])]
    write_choice(tmp_path, 0, "merge_16x16_to_64x64_inverse_kernel", [48, 64, True, "torch.float32"], tie)
    write_choice(tmp_path, 1, "merge_16x16_to_64x64_inverse_kernel", [48, 64, True, "torch.float32"], tie)
    out_of_resources = [(2, [float("inf")] * 3), (8, [0.5, 0.4, 0.6])]
    write_choice(tmp_path, 1, "chunk_fwd_kernel_o", [], out_of_resources)
    config = {"BK": 64, "num_ctas": 1, "num_stages": 3}
    assert read_chosen(tmp_path) == [
        Tuned(
            by="triton", kernel="chunk_fwd_kernel_o", key="[]", config={**config, "num_warps": 8}, ranks=[1]
        ),
        Tuned(
            by="triton",
            kernel="merge_16x16_to_64x64_inverse_kernel",
            key='[48, 64, true, "torch.float32"]',
            config={**config, "num_warps": 4},
            ranks=[0, 1],
        ),
    ]


@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"key": [1], "configs_timings": []}', '{"key": 1, "configs_timings": [[1, 2]]}']
)
def test_a_file_of_another_form_is_named_and_says_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "rank-0").mkdir()
    (tmp_path / "rank-0" / "LDZ6.kernel.autotune.json").write_text(text)
    assert read_chosen(tmp_path) == [Tuned(by="triton", kernel="kernel", key="", config={}, ranks=[0])]


def test_flashinfer_s_tactics_are_read_by_operation() -> None:
    # As FlashInfer 0.6.13 writes it: AutoTuner.save_configs.
    key = "('trtllm_fp4_block_scale_moe', 'MoERunner', ((8, 2880), (8, 128)), ())"
    text = json.dumps({"_metadata": {"flashinfer_version": "0.6.13"}, key: ["MoERunner", [8, 42]]})
    config = {"runner": "MoERunner", "tactic": [8, 42]}
    expected = Tuned(by="flashinfer", kernel="trtllm_fp4_block_scale_moe", key=key, config=config, ranks=[])
    assert read_flashinfer(text) == [expected]
    assert read_flashinfer("[1]")[0].config == {}


def test_what_held_files_was_kept_and_what_holds_none_is_not_used() -> None:
    states = cache_states({"a": True, "b": False, "c": False}, {"a": True, "b": True, "c": False})
    assert states == {"a": "kept", "b": "empty", "c": "not used"}


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tuning, "KEPT", tmp_path / "kept")
    return kind_settings("vllm", engine="vllm-0.25.1", gpus=1)


def use(settings: Settings, environment: dict[str, str], log: str = "") -> dict[str, str]:
    """A server's life: it compiles a kernel, tunes it by Triton, and compiles by torch; with what each began."""
    with process_caches(settings, environment) as caches:
        kernels = Path(caches.environment.get("TRITON_CACHE_DIR", Path.home() / ".triton/cache"))
        for folder in (
            kernels / "LDZ6",
            Path(caches.environment["TEMPZERO_TRITON_CHOICES"], "LDZ6"),
            Path(caches.environment["TORCHINDUCTOR_CACHE_DIR"], "5f"),
            Path(caches.environment["VLLM_CACHE_ROOT"], "modelinfos"),
        ):
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "file").write_text("made")
        found = caches.look(log)
    assert found is not None
    return {name: str(state) for name, state in found.caches.items()}


def test_choices_are_empty_at_each_start_and_kernels_stay(settings: Settings) -> None:
    cold = {
        "flashinfer": "not used",
        "flashinfer_kernels": "not used",
        "torch_compile": "empty",
        "triton": "empty",
    }
    environment = {"PATH": "/usr/bin"}
    assert use(settings, environment) == {**cold, "triton_kernels": "empty"}
    assert use(settings, environment) == {**cold, "triton_kernels": "kept"}
    facts = Path.home() / ".cache/vllm/modelinfos/file"
    assert facts.is_file(), "what vLLM knows of a model's class is found again"


def test_warm_tuning_keeps_choices_for_sessions_that_want_them(settings: Settings) -> None:
    warm = msgspec.structs.replace(settings, warm_tuning=True)
    assert use(warm, {})["triton"] == "empty", "the first such session begins with none"
    assert use(warm, {})["triton"] == use(warm, {})["torch_compile"] == "kept"
    assert use(settings, {})["triton"] == "empty"


def test_what_is_compiled_for_a_cpu_is_kept_since_nothing_times_it(
    settings: Settings, tmp_path: Path
) -> None:
    cpu = msgspec.structs.replace(settings, gpus=0)
    kept = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor")}
    assert use(cpu, kept)["torch_compile"] == "empty"
    assert use(cpu, kept)["torch_compile"] == "kept"
    assert use(settings, kept)["torch_compile"] == use(cpu, kept)["triton"] == "empty"


def test_the_variables_of_an_engine_s_entry_come_first(settings: Settings, tmp_path: Path) -> None:
    own = msgspec.structs.replace(settings, environment={"TRITON_CACHE_DIR": str(tmp_path / "mine")})
    assert use(own, {"TRITON_CACHE_DIR": "/nowhere"})["triton_kernels"] == "empty"
    assert (tmp_path / "mine/LDZ6/file").is_file()


def test_an_engine_that_tunes_nothing_is_told_nothing() -> None:
    with process_caches(kind_settings("llamacpp"), {"A": "b"}) as caches:
        assert caches.environment == {"A": "b"}
        assert caches.look("") is None

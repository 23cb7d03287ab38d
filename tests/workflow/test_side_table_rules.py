"""The side tables made for real, from the tests' small grids."""

from __future__ import annotations

import json
import subprocess

from checkouts import ENGINE, Checkout

MOE = f"tinychart-moe/{{}}/{ENGINE}/base"
SIDE = {
    "description": "what the tests compare",
    "workload": "tiny",
    "sessions": 1,
    "replays": 2,
    "forced": 0,
    "estimate": {"tokens_per_replay": 100, "tokens_per_second": 100, "start_seconds": 1},
    "blocks": [
        {
            "models": ["tinychart-moe"],
            "precisions": ["reap35-q8-experts", "q4_k_m"],
            "engines": [ENGINE],
            "variants": ["base"],
        },
        {
            "models": ["tinychart-moe"],
            "precisions": ["q4_k_m"],
            "engines": [ENGINE],
            "variants": ["ubatch-1", "warm-prefix-cache"],
        },
    ],
    "reap": [{"pruned": MOE.format("reap35-q8-experts"), "against": [MOE.format("q4_k_m")]}],
}


def test_the_leak_is_named_by_one_command(finished: Checkout) -> None:
    done = finished.run("--cores", "1", "results/leak.md")
    assert done.returncode == 0, done.stdout
    page = (finished.path / "results/leak.md").read_text(encoding="utf-8")
    assert "| `list_files`" in page and "time: " in page
    assert "nothing volatile found" in page
    assert "**What this cannot say.**" in page
    assert finished.jobs("results/leak.md") == {}
    refused = finished.run("-n", "results/reap.md")
    assert refused.returncode == 1
    assert "the grid tiny has nothing to make it from" in refused.stdout


def test_pruned_experts_are_compared_and_everything_is_clocked(finished: Checkout) -> None:
    finished.write_yaml("config/grids/side.yaml", SIDE)
    finished.edit("config/models.yaml", "charts: 24", "charts: 2")
    done = finished.run(
        "--cores",
        "2",
        "results/reap.md",
        "results/speed.md",
        "results/warm.md",
        "results/near-ties.md",
        "--config",
        "grid=side",
    )
    assert done.returncode == 0, done.stdout
    results = finished.path / "results"
    quant = results / "quants/tinychart-moe/reap35-q8-experts"
    manifest = json.loads((quant / "manifest.json").read_text())
    assert manifest["quantised"].startswith("experts: Q8_0 (not:")
    assert manifest["quantised"].endswith("; 3 of 8 experts pruned (REAP)")
    assert json.loads((quant.parent / "reap35/config.json").read_text())["num_experts"] == 5
    reap = (results / "reap.md").read_text(encoding="utf-8")
    assert "On 2 questions about 1 chart " in reap
    assert "3 of 8 experts pruned (REAP)" in reap
    assert "**What this cannot say.**" in reap
    speed = (results / "speed.md").read_text(encoding="utf-8")
    assert "four-hours" in speed and "ubatch-1" in speed
    assert "no cell of this grid has multi-token prediction on" in speed
    assert "**What this cannot say.**" in speed
    warm = (results / "warm.md").read_text(encoding="utf-8")
    assert "| tinychart-moe | q4_k_m " in warm and "| 0 of 107 " in warm and "| 106 of 107 " in warm
    assert "first answers have the uncached cell's bits in 1 of 1" in warm
    ties = (results / "near-ties.md").read_text(encoding="utf-8")
    assert "ubatch-1" in ties and "**What this cannot say.**" in ties
    assert (results / "near-ties.svg").is_file()
    # A prompt token by token gives other bits than at once; one session each cannot tell that from a start's chance.
    cell = f"results/cells/tinychart-moe/q4_k_m/{ENGINE}"
    for variant, code in (("base", 0), ("ubatch-1", 3)):
        line = [finished.python, "-m", "scripts.check", f"{cell}/base", f"{cell}/{variant}"]
        assert subprocess.run(line, cwd=finished.path).returncode == code, variant
    pages = ("results/reap.md", "results/speed.md", "results/warm.md", "results/near-ties.md")
    assert finished.jobs(*pages, "--config", "grid=side") == {}

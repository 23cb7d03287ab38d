"""A sweep made for real, from the tests' small grid: a clean cell has no threshold, noise on the logits is unequal."""

from __future__ import annotations

import json

from checkouts import ENGINE, Checkout

SWEEP = {
    "name": "length",
    "axis": "prompt_tokens",
    "values": [16, 64, 256],
    "prompts": 2,
    "passes": 3,
    "confirm": 4,
}
CURVES = {
    "description": "what the tests sweep",
    "workload": "tiny",
    "sessions": 1,
    "replays": 1,
    "forced": 0,
    "estimate": {"tokens_per_replay": 100, "tokens_per_second": 100, "start_seconds": 1},
    "blocks": [
        {
            "models": ["tinychart-dense"],
            "precisions": ["q8_0"],
            "engines": [ENGINE],
            "variants": ["base", "jitter"],
            "sweep": SWEEP,
        }
    ],
}
PAGE = ("results/curves/length.md", "--config", "grid=curves")


def test_a_curve_is_made_by_one_command(finished: Checkout) -> None:
    finished.write_yaml("config/grids/curves.yaml", CURVES)
    assert finished.jobs(*PAGE) == {"sweep_cell": 4, "make_curve": 1}
    done = finished.run("--cores", "2", *PAGE)
    assert done.returncode == 0, done.stdout
    assert "4 sessions of sweeps, about 16 minutes more" in done.stdout
    page = (finished.path / PAGE[0]).read_text(encoding="utf-8")
    assert (
        "- **tinychart-dense q8_0**: no difference at 3 values from 16 to 256 (2 sessions of 2 prompts"
        in page
    )
    assert "- **tinychart-dense q8_0, jitter**: unequal at every value that was looked at" in page
    assert (finished.path / "results/curves/length.svg").read_text(encoding="utf-8").startswith("<?xml")
    (record, *_) = sorted(finished.path.glob("results/cells/*/*/*/base/sweeps/length/session-*/sweep.json"))
    points = json.loads(record.read_text())["points"]
    assert [each["positions"] for each in points] == [15, 15, 63, 63, 255, 255]
    assert finished.jobs(*PAGE) == {}
    refused = finished.run("-n", "results/curves/lenght.md", "--config", "grid=curves")
    assert refused.returncode == 1 and "did you mean 'results/curves/length.md'" in refused.stdout

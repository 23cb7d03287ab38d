"""A start that draws one of two states by lot, for real: it reads `between`, and a placebo removes nothing."""

from __future__ import annotations

import json
from pathlib import Path

from checkouts import ENGINE, Checkout

MODEL, PRECISION = "tinychart-moe", "bf16"
VARIANTS = ("start-lottery", "start-lottery-placebo")
PAGE = f"results/ablation/{MODEL}-{PRECISION}-{ENGINE}.md"


def block(variant: str, sessions: int, **more: object) -> dict[str, object]:
    return {
        "models": [MODEL],
        "precisions": [PRECISION],
        "engines": [ENGINE],
        "variants": [variant],
        "sessions": sessions,
        **more,
    }


def states(cell: Path) -> dict[int, set[str]]:
    """The tokens of a prompt that a start computed at once → the sha256 of its replays' logprobs."""
    found: dict[int, set[str]] = {}
    for path in sorted(cell.glob("session-*/session.json")):
        session = json.loads(path.read_text())
        bits = found.setdefault(session["resolved"]["resolved"]["n_ubatch"], set())
        bits.update(each["logprobs"]["sha256"] for each in session["files"])
    return found


def test_what_a_start_draws_is_between_sessions_and_a_placebo_removes_nothing(fresh: Checkout) -> None:
    """Ten starts of two equally likely states are all alike once in 512 times; where four of the placebo are, once in
    8, nothing can be said of it."""
    grid = {
        "description": "a start that draws its state by lot",
        "workload": "tiny",
        "sessions": 4,
        "replays": 2,
        "forced": 0,
        "estimate": {"tokens_per_replay": 100, "tokens_per_second": 100, "start_seconds": 1},
        "blocks": [
            block("start-lottery", 10, expect=["between"]),
            block("start-lottery-placebo", 4),
        ],
        "ablations": [
            {
                "model": MODEL,
                "precision": PRECISION,
                "engine": ENGINE,
                "baseline": "start-lottery",
                "changes": ["start-lottery-placebo"],
            }
        ],
    }
    fresh.write_yaml("config/grids/lottery.yaml", grid)
    done = fresh.run("--cores", "2", "results/table.md", PAGE, "--config", "grid=lottery")
    assert done.returncode == 0, done.stdout
    results = fresh.path / "results"
    (control,) = json.loads((results / "controls.json").read_text())["controls"]
    assert control["ok"] and control["found"].endswith(", parts between")
    drawn, placebo = (states(results / f"cells/{MODEL}/{PRECISION}/{ENGINE}/{name}") for name in VARIANTS)
    assert set(drawn) == {1, 512}
    assert all(len(each) == 1 for each in drawn.values()), "what was drawn decides the bits"
    assert drawn[1] != drawn[512]
    assert all(bits == drawn[each] for each, bits in placebo.items()), "the placebo changes none"
    cell = json.loads((results / f"cells/{MODEL}/{PRECISION}/{ENGINE}/start-lottery/cell.json").read_text())
    assert (cell["cause"]["kind"], cell["cause"]["name"], cell["cause"]["equally"]) == (
        "resolved",
        "n_ubatch",
        0,
    )
    assert {value for side in cell["cause"]["sides"] for value in side["values"]} == {"1", "512"}
    table = (results / "table.md").read_text(encoding="utf-8")
    assert f"- {MODEL} {PRECISION}, start-lottery: " in table and " with n_ubatch 512 ha" in table
    page = (fresh.path / PAGE).read_text(encoding="utf-8")
    assert ("`start-lottery-placebo` does not remove it" in page) is (len(placebo) == 2)

"""A start that draws one of four states by lot, for real: it reads `between`, and a placebo removes nothing."""

from __future__ import annotations

import json

from checkouts import ENGINE, Checkout

MODEL, PRECISION = "tinychart-moe", "q8_0"
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


def test_what_a_start_draws_is_between_sessions_and_a_placebo_removes_nothing(fresh: Checkout) -> None:
    """Seven starts of four equally likely states are all alike in 1 of 4,096 cases, six in 1 of 1,024."""
    grid = {
        "description": "a start that draws its state by lot",
        "workload": "tiny",
        "sessions": 4,
        "replays": 2,
        "forced": 0,
        "estimate": {"tokens_per_replay": 100, "tokens_per_second": 100, "start_seconds": 1},
        "blocks": [
            block("start-lottery", 7, expect=["between"]),
            block("start-lottery-placebo", 6, expect=["between"]),
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
    controls = json.loads((results / "controls.json").read_text())
    assert controls["ok"]
    assert all(each["found"].endswith(", parts between") for each in controls["controls"])
    cell = results / f"cells/{MODEL}/{PRECISION}/{ENGINE}/start-lottery"
    sessions = [json.loads(path.read_text()) for path in sorted(cell.glob("session-*/session.json"))]
    bits: dict[int, set[str]] = {}
    for session in sessions:
        drawn = session["resolved"]["resolved"]["n_ubatch"]
        bits.setdefault(drawn, set()).update(each["logprobs"]["sha256"] for each in session["files"])
    assert len(bits) > 1 and set(bits) <= {1, 4, 16, 512}
    assert all(len(each) == 1 for each in bits.values()), "the state that was drawn decides the bits"
    cause = json.loads((cell / "cell.json").read_text())["cause"]
    assert (cause["kind"], cause["name"], cause["equally"]) == ("resolved", "n_ubatch", 0)
    assert {int(side["value"]) for side in cause["sides"]} == set(bits)
    table = (results / "table.md").read_text(encoding="utf-8")
    assert f"- {MODEL} {PRECISION}, start-lottery: " in table and f" with n_ubatch {min(bits)} " in table
    page = (fresh.path / PAGE).read_text(encoding="utf-8")
    assert "`start-lottery-placebo` does not remove it" in page

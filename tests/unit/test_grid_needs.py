"""What a cluster is told of a job: from the grid's estimates and the sizes of weights, never less than they say."""

from __future__ import annotations

from pathlib import Path

from scripts.grid.asked import Asked
from scripts.grid.configuration import load_configuration
from scripts.grid.needs import needs, playing_needs
from scripts.grid.plan import Plan
from scripts.grid.resolve import resolve_cells
from scripts.records.engines import EngineEntry
from scripts.records.grid import Estimate
from scripts.records.models import Precision

ROOT = Path(__file__).parents[2]
ESTIMATE = Estimate(tokens_per_replay=1000, tokens_per_second=10, start_seconds=100)


def test_a_session_is_given_three_times_its_estimate_and_its_weights_with_room() -> None:
    engine = EngineEntry(kind="vllm", runtime="docker", arguments={}, gpus=4, image_gb=20)
    found = playing_needs(ESTIMATE, 6, Precision(disk_gb=80), engine).resources
    assert found == {"mem_mb": 96_000 + 64_000, "runtime": 30 + 35, "disk_mb": 30_000}
    spread = playing_needs(ESTIMATE, 6, Precision(disk_gb=80), EngineEntry(kind="vllm", runtime="process", arguments={}, gpus=8, nodes=2))  # fmt: skip
    assert spread.memory_gb == 96 + 4 * 16, "of each machine"
    small = playing_needs(
        ESTIMATE, 1, Precision(), EngineEntry(kind="llamacpp", runtime="process", arguments={})
    )
    assert small.resources["mem_mb"] == 9_200


def test_every_job_of_a_grid_has_them() -> None:
    configuration = load_configuration(ROOT, {"grid": "hopper"})
    plan = Plan(configuration, tuple(resolve_cells(configuration)), Asked())
    for names, cell in plan.cells.items():
        minutes = plan.session_needs(*names, "00").minutes
        assert minutes * 60 >= cell.seconds / cell.sessions
        assert plan.forced_needs(*names).memory_gb >= 16
        assert plan.weights_needs(*names[:2]).disk_gb > 0
        assert plan.image_needs(names[2]).minutes > 0
    asked = needs(4, plan.session_needs)
    assert list(asked) == ["mem_mb", "runtime", "disk_mb"]
    assert asked["runtime"](["random-moe", "int4", "vllm-0.25.1", "base", "03"]) == 37

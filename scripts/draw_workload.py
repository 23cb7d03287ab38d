"""Draw a workload on further chart seeds, ten questions a chart, and write it as a file of config/workloads/.

    python -m scripts.draw_workload --first-seed 5001 --charts 30 --output config/workloads/chartist-mini-300.yaml

Charts and questions are drawn as for training the small models (20 to 26 bars, all kinds of question). Seeds from
1,000,000 on are those models' own, for training and held-out tests, and are refused.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import ConfigError
from scripts.common.files import write_whole
from scripts.tinychart.draw import FIRST_HELD_OUT_SEED, SYSTEM, draw_scenario


def draw_workload(name: str, first_seed: int, charts: int, questions: int) -> str:
    """The text of the workload's file."""
    if first_seed + charts > FIRST_HELD_OUT_SEED:
        raise ConfigError(
            f"seeds from {FIRST_HELD_OUT_SEED:,} on are for training and held-out tests",
            where="--first-seed",
            remedy="take smaller ones",
        )
    lines = [
        f"# Written by: python -m scripts.draw_workload --first-seed {first_seed} --charts {charts}"
        f" --questions {questions} --output config/workloads/{name}.yaml",
        "",
        f"name: {name}",
        f"description: {charts} charts of seeds from {first_seed:,} on, {charts * questions} questions in all",
        f"system: {SYSTEM}",
        "limits: {max_tokens: 160, max_turns: 6}",
        "",
        "scenarios:",
    ]
    for seed in range(first_seed, first_seed + charts):
        drawn = draw_scenario(seed, questions=questions)
        scenario = drawn.workload.scenarios[0]
        (file,) = scenario.files
        lines += [
            f"  - name: chart-{seed}",
            f"    intro: {json.dumps(scenario.intro)}",
            f"    files: {{{file}: {{chart: {{seed: {seed}, timeframe: {drawn.spec.timeframe},"
            f" bars: {drawn.spec.bars}}}}}}}",
            "    questions:",
        ]
        for kind, given, _ in drawn.asked:
            keys = "".join(f", {key}: {_plain(value)}" for key, value in given.items())
            lines.append(f"      - {{ask: {kind}{keys}}}")
    return "\n".join(lines) + "\n"


def _plain(value: object) -> str:
    return json.dumps(value) if isinstance(value, str) else str(value)


def main(
    *,
    first_seed: Annotated[int, "the first chart's seed"],
    charts: Annotated[int, "how many charts, of seeds one after the other"],
    questions: Annotated[int, "questions a chart"] = 10,
    output: Annotated[Path, "the workload's file"],
) -> None:
    """Draw it."""
    write_whole(output, draw_workload(output.stem, first_seed, charts, questions))


if __name__ == "__main__":
    run(main)

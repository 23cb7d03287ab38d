"""Speeds by kind of input from planted timings, the price of a setting, and what a server counts of drafted tokens."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from cells import command, part, write_cell

from scripts.common.errors import DataError
from scripts.engines.vllm_server import speculation
from scripts.records.cell import Cell
from scripts.records.engine import Speculation
from scripts.records.grid import Grid, GridCell
from scripts.records.transcript import TurnTiming
from scripts.report.speed import TimedTurn, make_speed, reading_seconds
from scripts.verdict.summary import summarise

ENGINE = "llama-cpp-python-0.3.36"
READ, DECODE = 0.001, 0.01  # seconds a token


def planned(variant: str) -> dict[str, Any]:
    return {"model": "m", "architecture": "dense", "precision": "q6_k", "engine": ENGINE, "variant": variant}


def plant(results: Path, variant: str, slowness: list[float], **record: Any) -> None:
    """A cell of so many replays over two kinds of input; replay n takes slowness[n] times as long."""
    cell = planned(variant)
    names = {key: cell[key] for key in ("model", "precision", "engine", "variant")}
    turns = {
        "english": [part(list(range(100)), list(range(200, 220))), part([1, 2, 3], list(range(220, 260)))],
        "json": [part(list(range(50)), list(range(300, 330))), part([4], list(range(330, 335)))],
    }
    folder = results / "cells" / "/".join(names.values())
    said = {"version": "1", "arguments": {}, "resolved": {}, "context_between_turns": "kept"}
    write_cell(folder, [[turns] * len(slowness)], **names, resolved={**said, **record})
    for number, factor in enumerate(slowness):
        lines = [
            TurnTiming(
                scenario=kind,
                turn=n,
                tokens=len(each.ids),
                seconds=factor * (READ * len(each.prompt) + DECODE * len(each.ids)),
            )
            for kind, parts in turns.items()
            for n, each in enumerate(parts)
        ]
        path = folder / "session-00" / f"replay-{number:02d}.timing.jsonl"
        path.write_text("".join(line.line() for line in lines))
    summarise(folder).write(folder / "cell.json")


def grid_of(*variants: str, partial: bool = False) -> Grid:
    cells = [GridCell(**planned(each)) for each in variants]
    return Grid(heading="g", cells=cells, controls=[], partial=partial)


def test_speeds_by_kind_and_the_price_of_a_setting(tmp_path: Path) -> None:
    plant(tmp_path, "base", [1.0, 1.0, 1.0])
    plant(tmp_path, "ubatch-1", [2.0, 2.0, 2.0])
    grid_of("base", "ubatch-1").write(tmp_path / "grid.json")
    page = tmp_path / "speed.md"
    given = ["--grid", str(tmp_path / "grid.json"), "--results", str(tmp_path), "--output", str(page)]
    done = command("make_speed", *given)
    assert done.returncode == 0, done.stderr
    text = " ".join(page.read_text(encoding="utf-8").split())
    # 60 tokens in 0.6 s of decoding and 0.103 s of reading.
    assert "| m | q6_k | base | english | 103, 60 | 85.3 (85.3 to 85.3) | 100 (100 to 100) |" in text
    assert "| m | q6_k | ubatch-1 | english | 103, 60 | 42.7 (42.7 to 42.7) | 50.0 (50.0 to 50.0) |" in text
    assert f"| m | q6_k | {ENGINE} | ubatch-1 | +100 % (+100 to +100) | the baseline's | 3/3 |" in text
    assert "Not run: no cell of this grid has multi-token prediction on." in text
    assert "answers in none of these languages" in text


def test_the_spread_is_that_of_the_replays(tmp_path: Path) -> None:
    plant(tmp_path, "base", [1.0, 2.0, 4.0])
    text = " ".join(make_speed(grid_of("base"), tmp_path).split())
    assert "| english | 103, 60 | 42.7 (21.3 to 85.3) |" in text
    assert "This grid has no variant beside a baseline." in text


def test_multi_token_prediction_on_and_off(tmp_path: Path) -> None:
    plant(tmp_path, "base", [1.0])
    plant(tmp_path, "mtp", [0.5], speculation={"drafted": 400, "accepted": 300})
    text = " ".join(make_speed(grid_of("base", "mtp"), tmp_path).split())
    assert f"| m | q6_k | {ENGINE} | english | 85.3 (85.3 to 85.3) | 171 (171 to 171) | 75 % |" in text
    (reading,) = Cell.read(tmp_path / f"cells/m/q6_k/{ENGINE}/mtp/cell.json").readings
    assert reading.sentence == "speculation: 300 of 400 drafted tokens were accepted"
    plant(tmp_path / "other", "base", [1.0])
    text = " ".join(make_speed(grid_of("base", "mtp", partial=True), tmp_path / "other").split())
    assert "| english | 85.3 (85.3 to 85.3) | not run: no cell.json | not run |" in text


def test_a_server_that_reads_again_reads_the_whole_prompt(tmp_path: Path) -> None:
    plant(tmp_path, "base", [1.0], context_between_turns="read again")
    assert "| english | 223, 60 |" in " ".join(make_speed(grid_of("base"), tmp_path).split())


def test_reading_is_told_from_decoding_only_where_it_can_be() -> None:
    def turn(read: int, generated: int, seconds: float) -> TimedTurn:
        return TimedTurn("a", read, generated, seconds)

    made = [turn(r, g, READ * r + DECODE * g) for r, g in ((900, 20), (10, 160), (300, 60))]
    assert reading_seconds(made) == pytest.approx(READ)
    assert reading_seconds(made[:2]) is None
    assert reading_seconds([turn(n, 2 * n, n / 100) for n in (10, 20, 30)]) is None
    assert reading_seconds([turn(900, 20, 0.1), turn(10, 160, 5.0), turn(900, 60, 0.2)]) is None


def test_a_timing_that_is_not_its_replay_s_is_refused(tmp_path: Path) -> None:
    plant(tmp_path, "base", [1.0])
    (path,) = tmp_path.rglob("*.timing.jsonl")
    whole = path.read_text()
    path.write_text(whole.replace('"tokens":20', '"tokens":21'))
    with pytest.raises(DataError, match="of another replay"):
        make_speed(grid_of("base"), tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="the file is missing"):
        make_speed(grid_of("base"), tmp_path)


def test_what_a_server_counts_of_drafted_tokens() -> None:
    metrics = (
        "# HELP vllm:spec_decode_num_draft_tokens_total Number of draft tokens.\n"
        'vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 400.0\n'
        'vllm:spec_decode_num_accepted_tokens_total{engine="0",model_name="m"} 300.0\n'
        'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 200.0\n'
    )
    assert speculation(metrics) == Speculation(drafted=400, accepted=300)
    assert speculation("vllm:num_requests_running 0\n") is None

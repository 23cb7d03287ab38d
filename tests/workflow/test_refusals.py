"""What is wrong is refused by name and with a remedy, before anything is computed, or fails without a torn result."""

from __future__ import annotations

import json
import os
import subprocess

import pytest
from checkouts import CELLS, ENGINE, WORKLOAD, Checkout

from tests.nvidia import write_nvidia_smi


def refused(done: subprocess.CompletedProcess[str], *said: str) -> None:
    """The command failed with these words, as a message and not as a traceback, and nothing was begun."""
    assert done.returncode == 1, done.stdout
    for words in said:
        assert words in done.stdout, done.stdout
    assert "Traceback" not in done.stdout
    assert "Building DAG" not in done.stdout


def test_a_mistyped_name_is_refused_with_the_nearest(fresh: Checkout) -> None:
    fresh.edit("config/grids/tiny.yaml", "- tinychart-dense", "- tinychart-dence")
    refused(
        fresh.table(),
        "config/grids/tiny.yaml:",
        "there is no model 'tinychart-dence'",
        "did you mean 'tinychart-dense'",
    )


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("grid=tini", "there is no grid 'tini'"),
        ("partail=true", "unknown key 'partail'"),
        ("first_block=soon", "first_block: 'soon' is not a whole number"),
    ],
)
def test_a_mistyped_setting_of_the_command_line_is_refused(fresh: Checkout, setting: str, said: str) -> None:
    refused(fresh.table("--config", setting), "--config", said, "→")


def test_a_mistyped_cell_is_refused_at_once(fresh: Checkout) -> None:
    target = f"results/cells/tinychart-dense/q8/{ENGINE}/base/cell.json"
    refused(
        fresh.run("--cores", "1", target),
        target,
        "has no precision 'q8' of tinychart-dense",
        "did you mean 'q8_0'",
    )
    refused(fresh.run("--cores", "1", "-R", target, "--", "results/table.md"), "has no precision 'q8'")


def test_a_mistyped_file_is_refused_with_the_nearest(fresh: Checkout) -> None:
    refused(
        fresh.run("-n", "results/tabel.md"), "results/tabel.md: nothing makes this file", "'results/table.md'"
    )


def test_a_grid_that_no_gpu_is_there_for_is_refused_before_its_weights_are_made(fresh: Checkout) -> None:
    tool = fresh.path / "bin/nvidia-smi"
    tool.parent.mkdir()
    tool.write_text("#!/bin/sh\nexit 9\n")
    tool.chmod(0o755)
    fresh.environment["PATH"] = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    hopper = ("--config", "grid=hopper")
    said = ("vllm-0.25.1: NVIDIA GPUs are wanted, and nvidia-smi names none here", "--config grid=embedded")
    refused(fresh.run("--cores", "2", "--keep-going", *hopper), *said)
    assert not (fresh.path / "results/quants").exists()
    assert fresh.run("-n", "results/table.md", *hopper).returncode == 0
    assert fresh.run("--cores", "1", "results/grid.json", *hopper).returncode == 0
    partial = fresh.run("--cores", "1", "results/table.md", *hopper, "partial=true")
    assert partial.returncode == 0, partial.stdout


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"text": "What?"}, "has no `answer`"),
        (WORKLOAD["scenarios"][0]["questions"][0], "repeats question 1"),  # type: ignore[index]  # a literal above
    ],
)
def test_a_workload_that_is_wrong_is_refused(fresh: Checkout, change: dict[str, object], said: str) -> None:
    scenario = {**WORKLOAD["scenarios"][0]}  # type: ignore[index]  # a literal in conftest.py
    scenario["questions"] = [*scenario["questions"], change]
    fresh.write_yaml("config/workloads/tiny.yaml", {**WORKLOAD, "scenarios": [scenario]})
    refused(fresh.run("-n"), "config/workloads/tiny.yaml", said)


def test_another_folder_is_refused(fresh: Checkout) -> None:
    (fresh.path / "elsewhere").mkdir()
    done = fresh.run("--cores", "1", "--directory", "elsewhere", "results/table.md")
    refused(done, "the workflow runs in its own folder", "cd ")


def test_weights_that_changed_are_refused(finished: Checkout) -> None:
    weights = finished.path / "results/quants/tinychart-dense/q8_0/model.gguf"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    session = f"{CELLS}/base/session-00/session.json"
    done = finished.run("--cores", "1", "-R", session, "--", "results/table.md")
    assert done.returncode == 1
    assert "model.gguf" in done.stdout
    assert not (finished.path / session).exists()


@pytest.mark.parametrize("content", [b"", b'{"torn'])
def test_a_torn_transcript_is_named_and_never_skipped(finished: Checkout, content: bytes) -> None:
    transcript = finished.path / CELLS / "base/session-01/replay-00.transcript.jsonl"
    transcript.write_bytes(content)
    done = finished.run("--cores", "1", "-R", "summarise_cell", "--", "results/table.md")
    assert done.returncode == 1
    assert f"{CELLS}/base/session-01/replay-00.transcript.jsonl" in done.stdout
    assert not (finished.path / CELLS / "base/cell.json").exists()


def test_a_full_disk_during_a_replay_leaves_nothing_that_looks_whole(
    fresh: Checkout, fill_disk: object
) -> None:
    done = fresh.run("--cores", "1", "results/quants/tinychart-dense/q8_0/manifest.json")
    assert done.returncode == 0, done.stdout
    fill_disk("results/cells", 8)  # type: ignore[operator]  # a fixture that is a function
    session = f"{CELLS}/base/session-00/session.json"
    done = fresh.run("--cores", "1", session)
    assert done.returncode == 1
    assert "error: " in done.stdout
    assert "Traceback" not in done.stdout
    left = [path for path in (fresh.path / "results/cells").rglob("*") if path.is_file()]
    assert left == []


def test_a_control_that_reads_otherwise_puts_a_banner_on_the_table_and_fails(finished: Checkout) -> None:
    sessions = {path: path.stat().st_mtime_ns for path in finished.path.glob("results/cells/**/session.json")}
    finished.edit("config/grids/tiny.yaml", "- harness", "- none observed")
    for _ in range(2):  # it fails again until the control reads right
        done = finished.table()
        assert done.returncode == 1, done.stdout
        assert "a control came out otherwise" in done.stdout
        page = (finished.path / "results/table.md").read_text()
        assert "A control came out otherwise" in page.split("\n| ")[0]
        assert "tinychart-dense" in page
        assert (finished.path / "results/table.csv").exists()
        assert not (finished.path / "results/controls.json").exists()
        kept = json.loads((finished.path / "results/controls.failed.json").read_text())
        assert kept["ok"] is False
        assert [(each["found"], each["ok"]) for each in kept["controls"]] == [("harness", False)]
    finished.edit("config/grids/tiny.yaml", "- none observed", "- harness")
    assert finished.table().returncode == 0
    assert "A control came out otherwise" not in (finished.path / "results/table.md").read_text()
    assert json.loads((finished.path / "results/controls.json").read_text())["ok"] is True
    assert not (finished.path / "results/controls.failed.json").exists()
    assert sessions == {path: path.stat().st_mtime_ns for path in sessions}


def test_a_partial_table_is_made_of_what_exists(finished: Checkout) -> None:
    for session in ("session-00", "session-01"):
        folder = finished.path / CELLS / "base" / session
        for file in folder.iterdir():
            file.unlink()
        folder.rmdir()
    (finished.path / CELLS / "base/cell.json").unlink()
    assert finished.jobs("results/table.md", "--config", "partial=true") == {
        "write_grid": 1,
        "make_table": 1,
        "check_controls": 1,
        "table": 1,
    }
    done = finished.table("--config", "partial=true")
    assert done.returncode == 0, done.stdout
    page = (finished.path / "results/table.md").read_text()
    assert "not run" in page
    assert "partial: only what exists is in the table" in page
    assert not (finished.path / CELLS / "base/cell.json").exists()


def test_one_broken_cell_does_not_hide_the_others(fresh: Checkout) -> None:
    """--keep-going, then the partial table."""
    fresh.edit(
        "config/engines.yaml",
        "    harness:\n      list_files: ls",
        "    arguments: {llama-cpp-python: {n_ctx: 64}}\n    harness:\n      list_files: ls",
    )
    done = fresh.table("--keep-going")
    assert done.returncode == 1
    assert "--config partial=true" in done.stdout
    assert (fresh.path / CELLS / "base/cell.json").exists()
    assert not (fresh.path / "results/table.md").exists()
    done = fresh.table("--config", "partial=true")
    assert done.returncode == 0, done.stdout
    assert "not run" in (fresh.path / "results/table.md").read_text()


def test_too_little_disk_or_gpu_memory_is_said_before_weights_are_brought(fresh: Checkout) -> None:
    """On a machine with one small GPU, by its nvidia-smi."""
    quant = "results/quants/random-dense/bf16"
    tool = write_nvidia_smi(fresh.path / "bin", 4096)
    fresh.environment["PATH"] = f"{tool.parent}{os.pathsep}{os.environ['PATH']}"
    engine = "results/engines/vllm-0.25.1.json"
    small = fresh.run(
        "--cores", "1", "--keep-going", f"{quant}/manifest.json", engine, "--config", "grid=hopper"
    )
    assert small.returncode == 1, small.stdout
    assert "random-dense in bf16 wants 6 GB of GPU memory, 1 GPU has 4 GB" in small.stdout
    assert "the largest quant wants 12 GB of GPU memory, 1 GPU has 4 GB" in small.stdout
    assert "mark its block as planned" in small.stdout and "Traceback" not in small.stdout
    tool.unlink()
    fresh.edit("config/models.yaml", "disk_gb: 3.1", "disk_gb: 3100000")
    full = fresh.run("--cores", "1", f"{quant}/manifest.json", "--config", "grid=hopper")
    assert full.returncode == 1, full.stdout
    assert "random-dense in bf16 takes 3,100,000.0 GB and" in full.stdout and "GB are free" in full.stdout
    assert "make room there" in full.stdout and "Traceback" not in full.stdout
    assert not list((fresh.path / quant).rglob("*"))

"""Which GPUs are visible, as CUDA reads CUDA_VISIBLE_DEVICES, and which of these a session has for itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import EngineError
from scripts.provenance.devices import SHARED, Devices, hold_gpus
from scripts.provenance.gpus import SLURM_JOB, VISIBLE, all_gpus, select_gpus, visible_gpus
from scripts.records.machine import Gpu
from scripts.sessions.deployment import Deployment
from tests.engines.serving import kind_settings
from tests.nvidia import uuid, write_nvidia_smi
from tests.patience import HANGS

ROOT = Path(__file__).parents[2]
GPUS = [Gpu(name="H100", uuid=uuid(number), index=number) for number in range(4)]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine of four GPUs, the second in two parts, with locks of its own."""
    write_nvidia_smi(tmp_path / "bin", *[81559] * 4, mig={1: "MIG-aa11 MIG-ab22"})
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    for name in (VISIBLE, SHARED, SLURM_JOB):
        monkeypatch.delenv(name, raising=False)


def numbers(gpus: Sequence[Gpu]) -> list[int | None]:
    return [gpu.index for gpu in gpus]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0,1,2,3", [0, 1, 2, 3]),
        (" 2 , 0 ", [2, 0]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("1,-1,2", [1]),
        ("1,7,2", [1]),
        ("1,1", []),
        (uuid(3), [3]),
        (f"{uuid(2)},{uuid(0)}", [2, 0]),
        ("GPU-2,GPU-1", [2, 1]),
        ("GPU-", []),
        ("GPU-2,0", [2]),
        ("0,GPU-2", [0]),
        ("GPU-2,GPU-20", []),
    ],
)
def test_numbers_and_uuids_are_read_as_cuda_reads_them(value: str, expected: list[int]) -> None:
    assert numbers(select_gpus(GPUS, value)) == expected


@given(st.text(alphabet="0123456789,-GPUMIabcdef ²\n", max_size=40))
def test_no_value_names_a_gpu_twice_or_one_that_is_not_there(value: str) -> None:
    found = select_gpus(GPUS, value)
    assert len(set(numbers(found))) == len(found) and all(gpu in GPUS for gpu in found)


@given(st.lists(st.sampled_from(GPUS), unique=True, min_size=1), st.booleans())
def test_what_is_named_is_found_in_that_order(chosen: list[Gpu], by_number: bool) -> None:
    names = [str(gpu.index) if by_number else str(gpu.uuid)[:6] for gpu in chosen]
    assert select_gpus(GPUS, ",".join(names)) == chosen


def test_without_the_variable_all_are_visible_and_parts_of_a_card_are_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert visible_gpus() == all_gpus() and numbers(all_gpus()) == [0, 1, 2, 3]
    monkeypatch.setenv(VISIBLE, "MIG-ab")
    assert visible_gpus() == [Gpu(name="MIG 1g.10gb", uuid="MIG-ab22")]
    with hold_gpus(1, "x") as devices:
        assert devices.visible == "MIG-ab22"


def test_each_has_its_own_and_the_variables_say_so_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VISIBLE, "3,1,0")
    other = hold(1, "other")
    assert line(other) == "3"
    with hold_gpus(2, "two") as two:
        assert os.environ[VISIBLE] == two.visible == "1,0" and two.uuids == [uuid(1), uuid(0)]
        assert os.environ["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert os.environ[VISIBLE] == "3,1,0" and "CUDA_DEVICE_ORDER" not in os.environ
    other.kill()
    other.communicate(timeout=HANGS)
    with hold_gpus(3, "three") as three:
        assert numbers(three.gpus) == [3, 1, 0]


def test_fewer_than_wanted_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VISIBLE, "2")
    with pytest.raises(
        EngineError,
        match=r"vllm-x: 2 GPUs are wanted and 1 is there, by nvidia-smi and CUDA_VISIBLE_DEVICES=2",
    ):
        hold_gpus(2, "vllm-x").__enter__()
    monkeypatch.setenv("PATH", str(tmp_path / "none"))
    with pytest.raises(EngineError, match="vllm-x: 1 GPU is wanted and 0 are there"):
        hold_gpus(1, "vllm-x").__enter__()


HOLD = """
import sys, time
from scripts.provenance.devices import hold_gpus
with hold_gpus(int(sys.argv[1]), sys.argv[2], float(sys.argv[4])) as devices:
    print(devices.visible, flush=True)
    time.sleep(float(sys.argv[3]))
"""


def hold(
    count: int, name: str, seconds: float = 60, memory_gb: float = 0, code: str = HOLD
) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", code, str(count), name, str(seconds), str(memory_gb)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@contextmanager
def shares(count: int, memory_gb: float = 0) -> Iterator[Devices]:
    """Cards held as by a process of its own, which leaves this one's variable alone."""
    with hold_gpus(count, "shares", memory_gb) as devices:
        del os.environ[VISIBLE]
        yield devices


def line(process: subprocess.Popen[str], *, of_errors: bool = False) -> str:
    stream = process.stderr if of_errors else process.stdout
    assert stream is not None
    return stream.readline().strip()


def test_in_a_job_of_slurm_only_those_that_it_gave_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SLURM_JOB, "7")
    with pytest.raises(
        EngineError, match="vllm: 1 GPU is wanted, and Slurm gave this job none\n  → .* export"
    ):
        with hold_gpus(1, "vllm"):
            pass
    monkeypatch.setenv(VISIBLE, "2")
    with hold_gpus(1, "vllm") as devices:
        assert devices.uuids == [uuid(2)]


def test_who_finds_none_free_waits_in_turn_and_a_killed_session_holds_none() -> None:
    """The second wants all and waits; the third, for which there is a free one, does not pass it by."""
    one = hold(1, "one")
    assert line(one) == "0"
    every = hold(4, "every", seconds=0.5)
    assert line(every, of_errors=True) == "every: waiting for 4 of 4 GPUs"
    late = hold(1, "late", seconds=0)
    assert line(late, of_errors=True) == "late: waiting for 1 of 4 GPUs"
    one.kill()
    assert line(every) == "0,1,2,3"
    assert line(late) in {"0", "1", "2", "3"}
    for process in (one, every, late):
        process.communicate(timeout=HANGS)
    assert every.returncode == late.returncode == 0


def test_a_card_is_held_by_who_inherits_its_lock() -> None:
    with hold_gpus(4, "all") as devices:
        guard = subprocess.Popen(["sleep", "60"], pass_fds=devices.locks)
    late = hold(1, "late", seconds=0)
    assert "waiting" in line(late, of_errors=True)
    guard.kill()
    guard.wait()
    assert line(late) in {"0", "1", "2", "3"}
    late.communicate(timeout=HANGS)


def test_shared_by_memory_the_roomiest_are_taken_and_who_finds_no_room_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Cards of 100 GB: a half of one, a quarter of all four, a quarter of one; then three quarters are nowhere free."""
    monkeypatch.setenv(SHARED, "400")
    with shares(1, 50) as half, shares(4, 100) as wide:
        with shares(1, 25) as quarter:
            assert [numbers(each.gpus) for each in (half, wide, quarter)] == [[0], [0, 1, 2, 3], [1]]
            late = hold(1, "late", seconds=0, memory_gb=75.5)
            assert line(late, of_errors=True) == "late: waiting for 1 of 4 GPUs"
    assert line(late) == "0"
    late.communicate(timeout=HANGS)
    with shares(1, 1000) as every, shares(3, 3) as others:
        assert numbers(every.gpus) == [0] and numbers(others.gpus) == [1, 2, 3]
        monkeypatch.delenv(SHARED)
        alone = hold(1, "alone", seconds=0)
        assert "waiting" in line(alone, of_errors=True)
    assert line(alone) == "0"
    alone.communicate(timeout=HANGS)


def test_an_engine_on_several_shared_cards_computes_alone_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHARED, "400")
    play = HOLD.replace("    print", "    with devices.playing(): print")

    def beside(count: int) -> subprocess.Popen[str]:
        return hold(count, "beside", seconds=0, memory_gb=10, code=play)

    with shares(1, 10) as one, one.playing():
        with shares(1, 10) as other, other.playing():
            wide = beside(4)
            with pytest.raises(subprocess.TimeoutExpired):
                wide.wait(0.6)
            narrow = beside(1)
            with pytest.raises(subprocess.TimeoutExpired):
                narrow.wait(0.6)  # in turn: else there would always be one
    assert line(wide) == "0,1,2,3" and line(narrow)
    assert wide.wait(HANGS) == narrow.wait(HANGS) == 0
    with shares(1, 10) as one, one.playing():
        assert line(beside(1))


def test_another_users_locks_can_be_taken(tmp_path: Path) -> None:
    with hold_gpus(1, "one"):
        pass
    folder = tmp_path / "tempzero-gpus"
    assert folder.stat().st_mode & 0o7777 == 0o1777
    for file in folder.iterdir():
        file.chmod(0o444)
    with hold_gpus(1, "one") as again:
        assert numbers(again.gpus) == [0]


def test_a_server_is_told_its_cards_and_its_guard_holds_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a program in the place of llama.cpp's server that says what it was given and ends; the guard is the real one."""
    program = tmp_path / "bin/llama-server"
    program.write_text(
        '#!/bin/sh\necho "cards $CUDA_VISIBLE_DEVICES $CUDA_DEVICE_ORDER"; ls -l /proc/$PPID/fd; exit 3\n'
    )
    program.chmod(0o755)
    (tmp_path / "model.gguf").touch()
    monkeypatch.setenv(VISIBLE, f"{uuid(3)},GPU-1")
    settings = kind_settings("llamacpp", gpus=2, environment={"ANY": "thing"})
    log = tmp_path / "engine.log"
    with pytest.raises(EngineError), Deployment(settings, tmp_path / "manifest.json", None, log).start():
        pass
    said = log.read_text()
    assert "cards 3,1 PCI_BUS_ID" in said
    assert {f"{uuid(number)}.lock" in said for number in (3, 1)} == {True}
    assert os.environ[VISIBLE] == f"{uuid(3)},GPU-1"

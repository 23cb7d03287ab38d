"""What is written down of a machine."""

from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path

import pytest

from scripts.provenance.machine import describe_machine
from scripts.records.machine import Gpu
from tests.nvidia import uuid, write_nvidia_smi


def test_it_says_what_can_change_a_result_and_not_whose_machine_it_is() -> None:
    machine = describe_machine()
    assert machine.cpu and machine.cores and machine.memory_bytes
    assert machine.cores.logical >= machine.cores.usable >= 1
    assert machine.memory_bytes > 2**28
    assert machine.python == platform.python_version()
    text = json.dumps(machine.as_json())
    assert platform.node() not in machine.as_json().values()
    assert getpass.getuser() not in machine.as_json().values()
    assert str(Path.home()) not in text


def test_gpus_are_read_from_nvidia_smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_nvidia_smi(tmp_path, 97887, 97887)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine = describe_machine()
    gpus = [
        Gpu(name="NVIDIA H100", memory_bytes=97887 * 2**20, uuid=uuid(number), index=number)
        for number in (0, 1)
    ]
    assert (machine.gpus, machine.driver, machine.cuda) == (gpus, "580.82.07", "13.0")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert describe_machine().gpus == gpus[1:]


def test_a_machine_without_gpus_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = describe_machine()
    assert (machine.gpus, machine.driver, machine.cuda) == ([], None, None)

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
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    tool = tmp_path / "nvidia-smi"
    tool.write_text(
        "#!/bin/sh\n"
        'if [ "$1" ]; then for i in 1 2; do echo "NVIDIA RTX PRO 6000 Blackwell, 97887, GPU-$i, 580.82.07"; done\n'
        'else echo "| NVIDIA-SMI 580.82.07   Driver Version: 580.82.07   CUDA Version: 13.0  |"; fi\n'
    )
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    machine = describe_machine()
    about = {"name": "NVIDIA RTX PRO 6000 Blackwell", "memory_bytes": 97887 * 2**20}
    assert machine.gpus == [Gpu(**about, uuid=uuid) for uuid in ("GPU-1", "GPU-2")]
    assert machine.driver == "580.82.07"
    assert machine.cuda == "13.0"


def test_of_several_gpus_the_visible_ones_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text('#!/bin/sh\n[ "$1" = -i ] && echo "GPU $2, 97887, GPU-0, 580.82.07"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert describe_machine().gpus == [Gpu(name="GPU 1", memory_bytes=97887 * 2**20, uuid="GPU-0")]


def test_a_machine_without_gpus_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    machine = describe_machine()
    assert (machine.gpus, machine.driver, machine.cuda) == ([], None, None)

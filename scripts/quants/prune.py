"""Building a pruned quant: calibrated on drawn episodes, its folder whole or not there, its manifest written last."""

from __future__ import annotations

import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path

from scripts.common.errors import ConfigError
from scripts.common.files import sha256_file, write_json, written_aside
from scripts.quants.build import GGUF, write_gguf_manifest
from scripts.quants.checkpoint import CHAT_FILES
from scripts.quants.gguf_files import write_gguf
from scripts.quants.manifest import NAME, verify_manifest
from scripts.quants.reap import kept_experts, prune, read_checkpoint, saliencies, write_checkpoint
from scripts.records.manifest import Experts, WeightsSource
from scripts.records.models import Calibration, Precision
from scripts.tinychart.draw import FIRST_HELD_OUT_SEED, play_oracle, training_ids
from scripts.workload.chat import ChatForm

RECORD = "reap.json"


def build_pruned(model: str, precision: str, entry: Precision, output: Path) -> None:
    """Prune the precision `from` of the same model by its `entry` in models.yaml and write the manifest, `output`.

    Beside the weights, reap.json has each expert's saliency, the tokens routed to it, and which experts stayed.
    """
    assert entry.from_ is not None and entry.share is not None and entry.calibration is not None
    source = output.parent.parent / entry.from_
    verify_manifest(source / NAME)
    with written_aside(output.parent) as aside:
        checkpoint = read_checkpoint(source)
        sequences = calibration(source, entry.calibration)
        routed = saliencies(checkpoint, sequences)
        kept = kept_experts(
            [layer.saliency for layer in routed], entry.share, checkpoint.config.num_experts_per_tok
        )
        write_checkpoint(prune(checkpoint, kept), source, aside)
        for name in CHAT_FILES:
            shutil.copyfile(source / name, aside / name)
        write_gguf(aside, aside / GGUF)
        write_json(
            aside / RECORD,
            {
                "criterion": "mean over routed tokens of gate weight × L2 norm of the expert's output (REAP)",
                "tokens": sum(map(len, sequences)),
                "layers": [
                    {
                        "kept": experts,
                        # Six digits: what follows depends on the order in which numpy's library adds.
                        "saliency": [float(f"{value:.6g}") for value in layer.saliency],
                        "routed": layer.tokens.tolist(),
                    }
                    for layer, experts in zip(routed, kept, strict=True)
                ],
            },
        )
        made_from = WeightsSource(
            recipe="reap",
            share=entry.share,
            calibration=entry.calibration,
            experts=Experts(before=checkpoint.config.num_experts, after=len(kept[0])),
            from_=entry.from_,
            from_manifest_sha256=sha256_file(source / NAME),
            numpy=version("numpy"),
            gguf=version("gguf"),
        )
        write_gguf_manifest(aside, model, precision, made_from)


def calibration(folder: Path, given: Calibration) -> list[list[int]]:
    """Episodes that an oracle plays on `charts` charts from `first_seed` on, as ids of the tokenizer in `folder`.

    ConfigError for seeds that a workload may use: what a benchmark asks must not have been seen before.
    """
    if given.first_seed < FIRST_HELD_OUT_SEED:
        raise ConfigError(
            f"charts of seeds below {FIRST_HELD_OUT_SEED:,} are the workloads' own",
            where="config/models.yaml: calibration.first_seed",
            remedy="calibrate on charts that no benchmark asks about",
        )
    chat = ChatForm(folder)
    with tempfile.TemporaryDirectory() as parent:
        played = [
            play_oracle(given.first_seed + number, chat, Path(parent), listing="names", mistakes=0.0)
            for number in range(given.charts)
        ]
    return [training_ids(turns, flawed)[0] for turns, flawed in played]

"""The arguments that every command has which brings a quant: MODEL PRECISION --entry --output --gpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.errors import ConfigError
from scripts.records.models import Precision

Entry = Annotated[Precision, "the precision's entry in models.yaml, as JSON"]
Output = Annotated[Path, "manifest.json in the quant's folder"]
Gpus = Annotated[str, "on how many GPUs together the grid's engines serve it: 0, or counts such as 1,4"]


def gpu_counts(given: str) -> list[int]:
    """The counts of an argument `Gpus`, ascending; ConfigError where one is no whole number."""
    try:
        return sorted({int(each) for each in given.split(",")} - {0})
    except ValueError:
        raise ConfigError(
            f"--gpus {given!r} is not a list of whole numbers", remedy="give 0, or counts such as 1,4"
        ) from None

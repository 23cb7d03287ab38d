"""The arguments that every command has which brings a quant: MODEL PRECISION --entry --output --gpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.records.models import Precision

Entry = Annotated[Precision, "the precision's entry in models.yaml, as JSON"]
Output = Annotated[Path, "manifest.json in the quant's folder"]
Gpus = Annotated[int, "how many GPUs are to serve it together"]

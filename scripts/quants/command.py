"""The command line that every command has which brings a quant: MODEL PRECISION --entry --output --gpus."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from scripts.records.base import convert
from scripts.records.models import Precision


def quant_parser(name: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of the command `python -m scripts.NAME`."""
    parser = argparse.ArgumentParser(prog=f"python -m scripts.{name}", description=description)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("precision", metavar="PRECISION")
    parser.add_argument(
        "--entry", type=_entry, required=True, help="the precision's entry in models.yaml, as JSON"
    )
    parser.add_argument("--output", type=Path, required=True, help="manifest.json in the quant's folder")
    parser.add_argument("--gpus", type=int, default=0, help="how many GPUs are to serve it together")
    return parser


def _entry(text: str) -> Precision:
    return convert(Precision, json.loads(text), "--entry")

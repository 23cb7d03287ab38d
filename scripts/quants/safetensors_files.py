"""Safetensors checkpoints read without any library: which tensors they hold, of which type, and their bytes.

Format: 8 bytes with the header's length, little end first, the header in JSON, then the data.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import DataError

CHUNK = 2**24
HEADER_LIMIT = 2**28


@dataclass(frozen=True)
class Tensor:
    """One tensor: the file it lies in, its type as safetensors names it (`BF16`), its shape, and its bytes' place."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int

    def digest(self) -> str:
        """The sha256 of its bytes."""
        found = hashlib.sha256()
        with open(self.file, "rb") as stream:
            stream.seek(self.begin)
            left = self.end - self.begin
            while left:
                part = stream.read(min(CHUNK, left))
                if not part:
                    raise DataError("the file is torn: it ends before its last tensor", where=str(self.file))
                found.update(part)
                left -= len(part)
        return found.hexdigest()


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the safetensors files in `folder`, by name; DataError for a torn file, or a name in two files."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        header, start = _header(file)
        for name, entry in header.items():
            if name == "__metadata__":
                continue
            if name in found:
                raise DataError(f"the tensor {name} is in {found[name].file.name} too", where=str(file))
            begin, end = entry["data_offsets"]
            found[name] = Tensor(file, entry["dtype"], tuple(entry["shape"]), start + begin, start + end)
    if not found:
        raise DataError("there is no safetensors file with a tensor", where=str(folder))
    return found


def _header(file: Path) -> tuple[dict[str, Any], int]:
    size = file.stat().st_size
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise DataError("the file is torn: its header does not fit into it", where=str(file))
        try:
            header = json.loads(stream.read(length))
        except ValueError as error:
            raise DataError(f"the file is torn ({error})", where=str(file)) from error
    start = 8 + length
    last = max(
        (entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__"), default=0
    )
    if start + last != size:
        raise DataError(
            f"the file is torn: {size} bytes, and its header says {start + last}", where=str(file)
        )
    return dict(header), start


GROUPS = (
    ("vision", re.compile(r"(^|\.)(visual|vision_tower|vision_model)\.")),
    ("MTP", re.compile(r"(^|\.)mtp\.")),
    ("shared experts", re.compile(r"\.shared_experts?\.")),
    ("experts", re.compile(r"\.experts\.")),
    ("router", re.compile(r"\.(gate|shared_expert_gate)\.(weight|bias)")),
    ("norms", re.compile(r"norm\w*\.(weight|bias)$")),
    ("attention", re.compile(r"\.self_attn\.")),
    ("linear attention", re.compile(r"\.linear_attn\.")),
    ("feed-forward", re.compile(r"\.mlp\.")),
    ("embedding", re.compile(r"embed_tokens")),
    ("output", re.compile(r"(^|\.)lm_head\.")),
)
# What goes with a quantised matrix and is no weight itself.
COMPANION = re.compile(
    r"(_scale|_scale_inv|_scale_2|_global_scale|_shape|_zero_point|_zeros|g_idx|qzeros|scales|_bias_correction)$"
)
NAMES = {
    "F8_E4M3": "FP8",
    "F8_E5M2": "FP8 (E5M2)",
    "I32": "4-bit (packed)",
    "U8": "FP4 (packed)",
    "BF16": "BF16",
    "F16": "F16",
    "F32": "F32",
}


def group_of(name: str) -> str:
    """What a tensor belongs to, by its name in the checkpoint."""
    return next((group for group, pattern in GROUPS if pattern.search(name)), "other")


def types_by_group(tensors: dict[str, Tensor]) -> dict[str, dict[str, int]]:
    """How many weights of each group have which type: {"experts": {"FP8": 96}, …}; scales are not counted."""
    groups: dict[str, Counter[str]] = {}
    for name, tensor in tensors.items():
        if not COMPANION.search(name):
            groups.setdefault(group_of(name), Counter())[NAMES.get(tensor.dtype, tensor.dtype)] += 1
    return {group: dict(sorted(count.items())) for group, count in sorted(groups.items())}


def describe_groups(groups: dict[str, dict[str, int]], plain: Iterable[str] = ("BF16", "F32", "F16")) -> str:
    """What is quantised, in one line for the table, as it is read from the checkpoint."""
    known = set(plain)
    by_types: dict[str, list[str]] = {}
    for group, types in groups.items():
        by_types.setdefault("/".join(types), []).append(group)
    quantised = {types: names for types, names in by_types.items() if not set(types.split("/")) <= known}
    if not quantised:
        return (
            f"nothing ({'/'.join(sorted({each for types in by_types for each in types.split('/')})).lower()})"
        )
    rest = sorted(name for types, names in by_types.items() if types not in quantised for name in names)
    parts = [f"{', '.join(names)}: {types}" for types, names in quantised.items()]
    return "; ".join(parts) + (f" (not: {', '.join(rest)})" if rest else "")

"""Safetensors checkpoints without any library: which tensors they hold, of which type, and their bytes.

Format: 8 bytes with the header's length, little end first, the header in JSON, then the data.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import msgspec

from scripts.common.errors import DataError
from scripts.records.base import Record

CHUNK = 2**24
HEADER_LIMIT = 2**28
METADATA = "__metadata__"  # the one key of a header that is no tensor


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


class _Entry(Record, frozen=True, kw_only=True):
    """What a file's header says of a tensor; its place counts from the header's end."""

    dtype: str
    shape: list[int]
    data_offsets: tuple[int, int]


def read_tensors(folder: Path) -> dict[str, Tensor]:
    """All tensors of the safetensors files in `folder`, by name; DataError for a torn file, or a name in two files."""
    found: dict[str, Tensor] = {}
    for file in sorted(folder.glob("*.safetensors")):
        for name, tensor in read_file(file).items():
            if name in found:
                raise DataError(f"the tensor {name} is in {found[name].file.name} too", where=str(file))
            found[name] = tensor
    if not found:
        raise DataError("there is no safetensors file with a tensor", where=str(folder))
    return found


def read_file(file: Path) -> dict[str, Tensor]:
    """The tensors of one safetensors file, by name; DataError where it is torn."""
    size = file.stat().st_size
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        if not 2 <= length <= min(HEADER_LIMIT, size - 8):
            raise DataError("the file is torn: its header does not fit into it", where=str(file))
        try:
            header = msgspec.json.decode(stream.read(length), type=dict[str, msgspec.Raw])
            header.pop(METADATA, None)
            entries = {name: msgspec.json.decode(raw, type=_Entry) for name, raw in header.items()}
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise DataError(f"the file is torn ({error})", where=str(file)) from error
    start = 8 + length
    last = start + max((entry.data_offsets[1] for entry in entries.values()), default=0)
    if last != size:
        raise DataError(f"the file is torn: {size} bytes, and its header says {last}", where=str(file))
    return {
        name: Tensor(file, entry.dtype, tuple(entry.shape), *(start + place for place in entry.data_offsets))
        for name, entry in entries.items()
    }


def write_bf16(file: Path, shapes: Mapping[str, tuple[int, ...]], data: Iterable[bytes]) -> None:
    """Write a safetensors file of bf16 tensors: their shapes by name, and the bytes of each in the same order."""
    with open(file, "wb") as stream:
        stream.write(_header(shapes))
        stream.writelines(data)


def reserve_bf16(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Tensor]:
    """Write a safetensors file of bf16 tensors, shapes by name, that are all zeros: the place of each."""
    header = _header(shapes)
    with open(file, "wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + sum(2 * math.prod(shape) for shape in shapes.values()))
    return read_file(file)


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """What a safetensors file of bf16 tensors begins with, its length first."""
    entries, place = {}, 0
    for name, shape in shapes.items():
        begin, place = place, place + 2 * math.prod(shape)
        entries[name] = _Entry(dtype="BF16", shape=list(shape), data_offsets=(begin, place)).as_json()
    text = json.dumps({METADATA: {"format": "pt"}, **entries}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


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
# What goes with a quantised matrix, or marks a file with one expert, and is no weight itself.
COMPANION = re.compile(
    r"(_scale|_scale_inv|_scale_2|_global_scale|_shape|_zero_point|_zeros|g_idx|qzeros|scales|_bias_correction"
    r"|copies_of_expert_0)$"
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


def describe_groups(groups: dict[str, dict[str, int]], *, widened: Collection[str] = ()) -> str:
    """What is quantised, in one line for the table: groups that share their types are named together.

    `widened`: types that only hold what others are, and so are not named where nothing is quantised.
    """
    known = {"BF16", "F32", "F16"}
    by_types: dict[str, list[str]] = {}
    for group, types in groups.items():
        by_types.setdefault("/".join(types), []).append(group)
    quantised = {types: names for types, names in by_types.items() if not set(types.split("/")) <= known}
    if not quantised:
        plain = {each for types in by_types for each in types.split("/")} - set(widened)
        return f"nothing ({'/'.join(sorted(plain)).lower()})"
    rest = sorted(name for types, names in by_types.items() if types not in quantised for name in names)
    parts = [f"{', '.join(names)}: {types}" for types, names in quantised.items()]
    return "; ".join(parts) + (f" (not: {', '.join(rest)})" if rest else "")

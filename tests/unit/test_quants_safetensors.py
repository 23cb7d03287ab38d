"""Safetensors files: what is written is read back, and whatever else lies there is refused by name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scripts.common.errors import DataError
from scripts.quants.safetensors_files import read_file, read_tensors, write_bf16

SHAPES = {"a.weight": (2, 3), "b.weight": (4,)}


def framed(header: bytes, data: bytes = b"") -> bytes:
    """A file with this header."""
    return len(header).to_bytes(8, "little") + header + data


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    file = tmp_path / "model.safetensors"
    write_bf16(file, SHAPES, (bytes([number]) * size for number, size in ((1, 12), (2, 8))))
    found = read_tensors(tmp_path)
    assert {name: (each.dtype, each.shape) for name, each in found.items()} == {
        name: ("BF16", shape) for name, shape in SHAPES.items()
    }
    raw = file.read_bytes()
    assert raw[found["b.weight"].begin : found["b.weight"].end] == b"\x02" * 8
    header = json.loads(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    assert header["__metadata__"] == {"format": "pt"}
    assert header["a.weight"] == {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}
    assert found["a.weight"].begin % 8 == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x00" * 7,
        framed(b"{"),
        framed(b"[]"),
        framed(b'{"a": ' + b"[" * 100_000),
        framed(b"\xff\xfe{}"),
        framed(b'{"a": 1}'),
        framed(b'{"a": {"dtype": "BF16", "shape": [1]}}'),
        framed(b'{"a": {"dtype": "BF16", "shape": ["1"], "data_offsets": [0, 2]}}', b"12"),
        framed(b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}', b"1"),
        framed(b'{"a": {"dtype": "BF16", "shape": [1], "data_offsets": [0, 2]}}', b"123"),
    ],
)
def test_a_torn_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "torn.safetensors").write_bytes(content)
    with pytest.raises(DataError, match=r"torn\.safetensors: the file is torn"):
        read_tensors(tmp_path)


@given(header=st.binary(min_size=2, max_size=60))
def test_no_header_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, header: bytes) -> None:
    file = tmp_path_factory.mktemp("headers") / "model.safetensors"
    file.write_bytes(framed(header))
    try:
        assert read_file(file) == {}
    except DataError as error:
        assert "torn" in str(error)

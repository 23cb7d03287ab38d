"""The record of a server that runs, whose version is not that of the file."""

from __future__ import annotations

from pathlib import Path

import msgspec

from scripts.common.files import read_json, write_json
from scripts.records.engine import EngineRecord

RECORD = EngineRecord(engine="external", kind="openai", runtime="external", image=None, digest=None)


def test_the_server_s_version_is_kept_beside_the_file_s(tmp_path: Path) -> None:
    record = msgspec.structs.replace(RECORD, interface="vllm", server_version="0.24.0")
    record.write(tmp_path / "external.json")
    assert read_json(tmp_path / "external.json")["version"] == EngineRecord.VERSION
    assert EngineRecord.read(tmp_path / "external.json") == record


def test_an_older_file_says_it_as_version(tmp_path: Path) -> None:
    write_json(tmp_path / "external.json", {**RECORD.as_json(), "version": "0.24.0"})
    assert EngineRecord.read(tmp_path / "external.json").server_version == "0.24.0"

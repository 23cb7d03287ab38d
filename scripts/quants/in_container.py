"""Quantising in a container: the same code and tools, on a machine with Docker and without their environments."""

from __future__ import annotations

import json
from pathlib import Path

from scripts.common.errors import ConfigError
from scripts.provenance.adopted import PINS
from scripts.provenance.containers import link_mounts
from scripts.provenance.tools import ToolImage, find_tool, mounted, run_tool
from scripts.quants.gguf_files import quantise_arguments
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision

CODE = Path("scripts")
QUANTISER = "llama-cpp-python"


def quantise_in_container(model: str, precision: str, entry: Precision, output: Path) -> None:
    """The recipe model-free-ptq in the image of the tool llm-compressor; as build_model_free, which runs in there."""
    tool = find_tool("llm-compressor", ["/opt/quantise/bin/python"])
    quants = output.parent.parent
    assert entry.from_ is not None
    source = quants / entry.from_
    command = ["-m", "scripts.quantise_weights", model, precision, "--runtime", "inside"]
    command += ["--entry", json.dumps(entry.as_json()), "--output", output.as_posix()]
    run_tool(tool, command, [mounted(CODE, read_only=True), mounted(quants), *link_mounts(source)])


class LlamaQuantize:
    """llama.cpp's quantiser in the image of the tool llama-quantize."""

    def __init__(self) -> None:
        self._tool = find_tool("llama-quantize", ["llama-quantize"])

    def __call__(self, source: Path, output: Path, file_type: str, *, experts_only: bool) -> WeightsSource:
        """As quants.build.quantise_here; what it says of the quantiser is the version that the image was built from,
        or the image that was pulled."""
        run_tool(
            self._tool,
            [
                *quantise_arguments(experts_only=experts_only),
                source.as_posix(),
                output.as_posix(),
                file_type,
                "1",
            ],
            [mounted(source.parent, read_only=True), mounted(output.parent), *link_mounts(source.parent)],
        )
        return _version(self._tool)


def _version(tool: ToolImage) -> WeightsSource:
    lock = tool.record.lock
    if lock is None:
        return WeightsSource(image=tool.record.image)
    pinned = dict(PINS.findall(Path(lock).read_text(encoding="utf-8")))
    if QUANTISER not in pinned:
        raise ConfigError(f"the lock has no package {QUANTISER!r}", where=lock)
    return WeightsSource(llama_cpp_python=pinned[QUANTISER])

"""Which experts llama.cpp chose: its evaluation callback, at the sorted router weights of every layer.

A layer's node `ffn_moe_argsort-N` holds all experts in the order of their weights for each position that was computed;
the first ones are those that were used. The other nodes of the graph are left alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping

import llama_cpp
import numpy as np
from llama_cpp import _ggml

from scripts.common.errors import ConfigError, EngineError
from scripts.engines.routing import Layer

NODE = b"ffn_moe_argsort-"


class RoutingTap:
    """What is read off a context that calls `callback`; `experts`, `used`: of each layer, by `measure`."""

    def __init__(self) -> None:
        self._read: dict[int, list[Layer]] = {}
        self._failed: BaseException | None = None
        self._experts = self._used = 0
        # llama.cpp keeps only a pointer to it
        self.callback = llama_cpp.llama_cpp.ggml_backend_sched_eval_callback(self._look)

    def measure(self, metadata: Mapping[str, str]) -> None:
        """Take the numbers of experts from the model's metadata; ConfigError where it has none."""
        architecture = metadata.get("general.architecture", "")
        try:
            self._experts = int(metadata[f"{architecture}.expert_count"])
            self._used = int(metadata[f"{architecture}.expert_used_count"])
        except KeyError as error:
            raise ConfigError(
                "routed_experts is set, and the model has no experts",
                where="config/engines.yaml",
                remedy="record experts of a Mixture-of-Experts model only: run the cell without this variant",
            ) from error

    def forget(self) -> None:
        """Throw away what was read so far."""
        self._read.clear()

    def take(self) -> list[Layer]:
        """What was read since the last call, layer by layer, and forget it. EngineError where it could not be read."""
        if self._failed is not None:
            raise EngineError(f"the experts that llama.cpp chose cannot be read: {self._failed}")
        layers = [np.concatenate(self._read[number]) for number in sorted(self._read)]
        self.forget()
        return layers

    def _look(self, tensor: int, asked: bool, _: object) -> bool:
        """llama.cpp's callback: whether it wants the node (`asked`), then the node itself. It must not raise."""
        try:
            name = bytes(_ggml.libggml.ggml_get_name(ctypes.c_void_p(tensor)))
            if not name.startswith(NODE):
                return False
            if not asked and self._experts:  # a warm-up while the model loads is not read
                self._read.setdefault(int(name[len(NODE) :]), []).append(self._rows(tensor))
        except Exception as error:  # noqa: BLE001 - nothing can be raised through llama.cpp
            self._failed = error
        return True

    def _rows(self, tensor: int) -> Layer:
        size = int(_ggml.libggml.ggml_nbytes(ctypes.c_void_p(tensor)))
        whole = np.empty(size // 4, dtype=np.int32)
        _ggml.libggml.ggml_backend_tensor_get(
            ctypes.c_void_p(tensor),
            whole.ctypes.data_as(ctypes.c_void_p),
            ctypes.c_size_t(0),
            ctypes.c_size_t(size),
        )
        return whole.reshape(-1, self._experts)[:, : self._used].copy()


def declare() -> None:
    """Tell ctypes the signatures that llama-cpp-python does not."""
    library = _ggml.libggml
    library.ggml_get_name.restype = ctypes.c_char_p
    library.ggml_nbytes.restype = ctypes.c_size_t
    library.ggml_backend_tensor_get.restype = None


declare()

"""llama.cpp in this process, through llama-cpp-python: greedy, one sequence, full logits at hand.

`reset` empties the context. With `keep_cache` (the variant prompt-cache) it is kept instead, and the longest common
prefix is used again.
Low-level API of llama-cpp-python: llama_decode, llama_get_logits_ith, llama_memory_seq_rm.
"""

from __future__ import annotations

import ctypes
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import llama_cpp
import numpy as np

from scripts.common.errors import EngineError
from scripts.common.protocol import Scores
from scripts.engines.distribution import Row
from scripts.engines.in_process import InProcess
from scripts.engines.llama_cpp_routing import RoutingTap
from scripts.engines.routing import routing_digest, routing_digests
from scripts.records.engine import Described
from scripts.records.settings import LlamaCppArguments

# Without llama.cpp's own layouts for weights, of which AMX's is one. GCC 12, for one, tells its optimiser that
# `ldtilecfg` reads 8 of the 64 bytes that it reads: what is left of the configuration of AMX's tiles is whatever the
# stack held, and the process dies of it, or computes with it.
WEIGHTS_AS_THEY_ARE = {"use_extra_bufts": False}


class LlamaCppPython(InProcess):
    """The engine over one GGUF file. llama.cpp's log goes to the file `log`."""

    def __init__(self, weights: Path, arguments: LlamaCppArguments, log: Path) -> None:
        self._arguments = arguments
        write_log_to(log)
        self._log = log
        self._tap = RoutingTap() if arguments.routed_experts else None
        try:
            with (
                _defaults("llama_model_default_params", **(WEIGHTS_AS_THEY_ARE if uses_amx() else {})),
                _defaults(
                    "llama_context_default_params", **({"cb_eval": self._tap.callback} if self._tap else {})
                ),
            ):
                self._llama = llama_cpp.Llama(
                    str(weights),
                    verbose=False,
                    n_threads=arguments.n_threads,
                    n_threads_batch=arguments.n_threads_batch,
                    n_batch=arguments.n_batch,
                    n_ubatch=secrets.choice(arguments.n_ubatch_choices or [arguments.n_ubatch]),
                    n_ctx=arguments.n_ctx,
                    n_gpu_layers=arguments.n_gpu_layers,
                    flash_attn=arguments.flash_attn,
                )
        except (ValueError, RuntimeError) as error:
            raise EngineError(f"llama.cpp cannot load the weights: {error}", where=str(weights)) from error
        if self._tap is not None:
            self._tap.measure(self._llama.metadata)
        self._context = self._llama.ctx
        self._vocabulary = self._llama.n_vocab()
        self._row_type = ctypes.c_float * self._vocabulary
        self._noise = np.random.default_rng()
        batch = int(llama_cpp.llama_n_batch(self._context))
        super().__init__(batch=batch, room=int(self._llama.n_ctx()), room_key="n_ctx")

    def score(self, ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Prefill in batches of n_batch, logits of every position; the caches are emptied first."""
        return self._with_experts(super().score(ids, top_logprobs=top_logprobs), len(ids) - 1)

    def force(self, prompt_ids: Sequence[int], output_ids: Sequence[int], *, top_logprobs: int) -> Scores:
        """Decode the given ids one by one and keep the logits before each."""
        return self._with_experts(super().force(prompt_ids, output_ids, top_logprobs=top_logprobs))

    def reset(self) -> None:
        """Empty the context, unless the variant keeps it."""
        if not self._arguments.keep_cache:
            super().reset()

    def describe(self) -> Described:
        """Versions, the build's instruction sets, the arguments, and what llama.cpp made of them: `resolved`
        is read from its API and its log, None where neither says."""
        log = self._log.read_text("utf-8", "replace")
        return Described(
            version=version("llama-cpp-python"),
            build=" ".join(llama_cpp.llama_print_system_info().decode().replace("|", " ").split()),
            arguments=self._arguments.as_json(),
            resolved={
                "n_ctx": self._llama.n_ctx(),
                "n_batch": int(llama_cpp.llama_n_batch(self._context)),
                "n_ubatch": int(llama_cpp.llama_n_ubatch(self._context)),
                "n_threads": int(llama_cpp.llama_n_threads(self._context)),
                "n_threads_batch": int(llama_cpp.llama_n_threads_batch(self._context)),
                "quantisation": _found(r"file type\s*=\s*(.+)", log),
                "flash_attention": _found(r"flash_attn\s*=\s*(\w+)", log),
                "kv_cache_dtype": _found(r"K \((\w+)\)", log),
                "moe_backend": None,
                "weights": "as they are, AMX off" if uses_amx() else "as llama.cpp lays them out",
            },
            context_between_turns="kept; over episodes too" if self._arguments.keep_cache else "kept",
        )

    def close(self) -> None:
        """Free the model and its context."""
        self._llama.close()

    def _empty(self) -> None:
        self._forget_experts()
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self._context), True)
        self._held = []

    def _extend_to(self, ids: Sequence[int]) -> None:
        self._forget_experts()
        super()._extend_to(ids)

    def _cut(self, keep: int) -> None:
        memory = llama_cpp.llama_get_memory(self._context)
        if not llama_cpp.llama_memory_seq_rm(memory, 0, keep, -1):
            raise EngineError("llama.cpp cannot cut its context: run the cell without keep_cache")

    def _read(self, ids: Sequence[int]) -> None:
        array = (llama_cpp.llama_token * len(ids))(*ids)
        self._check(llama_cpp.llama_decode(self._context, llama_cpp.llama_batch_get_one(array, len(ids))))

    def _read_rows(self, ids: Sequence[int]) -> Iterator[Row]:
        batch = llama_cpp.llama_batch_init(len(ids), 0, 1)
        try:
            batch.n_tokens = len(ids)
            for i, token in enumerate(ids):
                batch.token[i] = token
                batch.pos[i] = len(self._held) + i
                batch.n_seq_id[i] = 1
                batch.seq_id[i][0] = 0
                batch.logits[i] = 1
            self._check(llama_cpp.llama_decode(self._context, batch))
        finally:
            llama_cpp.llama_batch_free(batch)
        return map(self._logits, range(len(ids)))

    def _check(self, code: int) -> None:
        if code != 0:
            raise EngineError(f"llama_decode failed after {len(self._held)} ids: code {code}")

    def _last_row(self) -> Row:
        return self._logits(-1)

    def _forget_experts(self) -> None:
        if self._tap is not None:
            self._tap.forget()

    def _with_experts(self, found: Scores, steps: int | None = None) -> Scores:
        """The scores with the digests of what the tap read since it last forgot: the first `steps`, or all of it."""
        if self._tap is None:
            return found
        layers, count = [each[:steps] for each in self._tap.take()], len(found.chosen)
        return replace(
            found, routing=routing_digests(layers, count), before=routing_digest(layers, but=count)
        )

    def _logits(self, index: int) -> Row:
        pointer = llama_cpp.llama_get_logits_ith(self._context, index)
        if not pointer:
            raise EngineError(f"llama.cpp returned no logits for position {index} of the batch")
        row = np.frombuffer(self._row_type.from_address(ctypes.addressof(pointer.contents)), np.float32)
        jitter = self._arguments.jitter
        if not jitter:
            return row
        return row + self._noise.uniform(-jitter, jitter, len(row)).astype(np.float32)


def uses_amx() -> bool:
    """Whether llama.cpp was built to multiply quantised matrices by AMX tiles."""
    return b"AMX_INT8 = 1" in llama_cpp.llama_print_system_info()


@contextmanager
def _defaults(name: str, **changed: Any) -> Iterator[None]:
    """Within it llama.cpp's default parameters, given by its function `name`, have these fields `changed`.

    A Llama takes no argument for them, and its parameters begin as llama.cpp's defaults.
    """
    api = llama_cpp.llama_cpp
    defaults = getattr(api, name)

    def parameters() -> Any:
        found = defaults()
        for key, value in changed.items():
            setattr(found, key, value)
        return found

    setattr(api, name, parameters)
    try:
        yield
    finally:
        setattr(api, name, defaults)


def write_log_to(path: Path | None) -> None:
    """Send all that llama.cpp logs to the file, from its beginning; None throws it away."""
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")

    def write(level: int, text: bytes, data: object) -> None:
        if path is not None:
            with open(path, "ab") as stream:
                stream.write(text)

    callback = llama_cpp.llama_log_callback(write)
    _callbacks.append(callback)
    llama_cpp.llama_log_set(callback, ctypes.c_void_p(0))


_callbacks: list[object] = []  # llama.cpp keeps only a pointer to them


def _found(pattern: str, log: str) -> str | None:
    match = re.search(pattern, log)
    return match.group(1).strip() if match else None

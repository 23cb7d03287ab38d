"""A checkpoint in this process, through transformers and torch, on the processor: full logits of every position."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path

import torch
import transformers
from safetensors import SafetensorError

from scripts.common.errors import EngineError
from scripts.engines.distribution import Row
from scripts.engines.in_process import InProcess
from scripts.records.engine import Described
from scripts.records.settings import TransformersArguments


class TransformersEngine(InProcess):
    """The engine over a folder with config.json and safetensors files. What transformers logs goes to `log`."""

    _cache: transformers.DynamicCache

    def __init__(self, weights: Path, arguments: TransformersArguments, log: Path) -> None:
        super().__init__(batch=arguments.batch, room=arguments.context_length, room_key="context_length")
        self._arguments = arguments
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log = logging.FileHandler(log, mode="w", encoding="utf-8")
        transformers.logging.add_handler(self._log)
        transformers.logging.disable_progress_bar()
        torch.set_num_threads(arguments.threads)
        try:
            self._model = transformers.AutoModelForCausalLM.from_pretrained(
                weights,
                dtype=getattr(torch, arguments.dtype),
                attn_implementation=arguments.attn_implementation,
                local_files_only=True,
            )
        except (OSError, ValueError, RuntimeError, SafetensorError) as error:
            self.close()
            raise EngineError(f"transformers cannot load the weights: {error}", where=str(weights)) from error
        self._empty()

    def describe(self) -> Described:
        """Versions from the packages, the rest from the model as it was loaded and from torch."""
        config = self._model.config
        experts = getattr(config, "num_experts", None)
        return Described(
            version=version("transformers"),
            arguments=self._arguments.as_json(),
            resolved={
                "torch": version("torch"),
                "device": self._model.device.type,
                "instruction_sets": torch.backends.cpu.get_cpu_capability(),
                "dtype": str(self._model.dtype).removeprefix("torch."),
                "kv_cache_dtype": str(self._model.dtype).removeprefix("torch."),
                "attention_backend": config._attn_implementation,
                "moe_backend": config._experts_implementation if experts else None,
                "threads": torch.get_num_threads(),
            },
            context_between_turns="kept",
        )

    def close(self) -> None:
        """Close the log."""
        transformers.logging.remove_handler(self._log)
        self._log.close()

    def _read(self, ids: Sequence[int]) -> None:
        self._rows = self._forward(ids, 1)

    def _read_rows(self, ids: Sequence[int]) -> Iterator[Row]:
        return iter(self._forward(ids, 0))

    def _last_row(self) -> Row:
        return self._rows[-1]

    def _cut(self, keep: int) -> None:
        if keep:
            self._cache.crop(keep - len(self._held))
        else:
            self._cache = transformers.DynamicCache(config=self._model.config)

    def _forward(self, ids: Sequence[int], keep: int) -> list[Row]:
        """The logits after the last `keep` of the ids; 0 keeps all."""
        with torch.inference_mode():
            found = self._model(
                torch.tensor([list(ids)]), past_key_values=self._cache, use_cache=True, logits_to_keep=keep
            )
        return list(found.logits[0].float().numpy())

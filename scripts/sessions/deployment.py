"""What a session and a forced replay ask: a cell's engine over the weights of its quant."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.common.protocol import Engine
from scripts.engines.start import start_engine
from scripts.provenance.devices import Devices, hold_gpus
from scripts.records.engine import EngineRecord
from scripts.records.settings import Settings
from scripts.workload.chat import ChatForm
from scripts.workload.text_form import TextForm


@dataclass(frozen=True)
class Deployment:
    """A cell's engine over its weights.

    `manifest`: manifest.json in the folder of the weights. `record`: the engine's record. `log`: where the engine's
    log goes. `gpu_gb`: memory that it takes on all its GPUs together, where these are shared, 10^9 bytes.
    """

    settings: Settings
    manifest: Path
    record: EngineRecord | None
    log: Path
    gpu_gb: float = 0.0

    def gpus(self) -> AbstractContextManager[Devices]:
        """The GPUs that the engine takes on this machine, held, as the cell's environment leaves them."""
        settings = self.settings
        os.environ.update(settings.environment)
        here = 0 if settings.spans_nodes else settings.gpus // settings.nodes
        return hold_gpus(here, settings.engine, self.gpu_gb)

    def start_on(self, devices: Devices) -> AbstractContextManager[Engine]:
        """The running engine on GPUs that are held."""
        return start_engine(self.settings, self.manifest.parent, self.log, self.record, devices)

    @contextmanager
    def start(self) -> Iterator[Engine]:
        """The running engine, on GPUs that it computes on in its turn."""
        with self.gpus() as devices, self.start_on(devices) as engine, devices.playing():
            yield engine

    def chat_form(self) -> ChatForm | TextForm:
        """The chat form of the quant's own tokenizer; text, for an endpoint whose tokenizer is not named."""
        folder = self.manifest.parent
        if self.settings.runtime == "external" and not (folder / "tokenizer.json").is_file():
            return TextForm()
        return ChatForm(folder)

    def title(self, what: str) -> str:
        """The cell and what is done with it, for a line of progress."""
        return f"{self.settings.model} {self.settings.precision} {self.settings.variant} · {what}"

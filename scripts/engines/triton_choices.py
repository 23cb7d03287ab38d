"""Inside a server: what Triton's auto-tuner chose is kept apart from the kernels that it compiled, and written down.

Triton keeps both in one folder, TRITON_CACHE_DIR, so that a start with its kernels compiled would take over the choices
of an earlier one. It loads this class where TRITON_CACHE_MANAGER names it, in every process of the server. Choices are
read and written in a folder of their own, named by TEMPZERO_TRITON_CHOICES; kernels stay where they were. All ranks of
a server share that folder, and the last to write a file is the one that is read later, so each rank also copies what it
chose or took over into TEMPZERO_CHOSEN. Nothing but Triton and torch is imported, for it runs in the server's
environment.
"""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import torch.distributed
from triton.runtime.cache import FileCacheManager

CHOICES = "TEMPZERO_TRITON_CHOICES"
CHOSEN = "TEMPZERO_CHOSEN"
SUFFIX = ".autotune.json"  # what Triton's Autotuner.check_disk_cache calls its files


class ChoicesApart(FileCacheManager):
    """Triton's own cache of files, but for the auto-tuner's."""

    def get_file(self, filename: str) -> str | None:
        """The path of a file that is there; None where none is."""
        if not filename.endswith(SUFFIX):
            path: str | None = super().get_file(filename)
            return path
        choice = self._choice(filename)
        if not choice.is_file():
            return None
        self._note(filename, choice.read_text("utf-8"))
        return str(choice)

    def put(self, data: str | bytes, filename: str, binary: bool = True) -> str:
        """Write a file, whole or not at all; its path."""
        if not filename.endswith(SUFFIX):
            path: str = super().put(data, filename, binary=binary)
            return path
        text = data.decode("utf-8") if isinstance(data, bytes) else data
        choice = self._choice(filename)
        _write(choice, text)
        self._note(filename, text)
        return str(choice)

    def _choice(self, filename: str) -> Path:
        return Path(os.environ[CHOICES], self.key, filename)

    def _note(self, filename: str, text: str) -> None:
        """Copy what this process goes by."""
        ready = torch.distributed.is_available() and torch.distributed.is_initialized()
        rank = torch.distributed.get_rank() if ready else 0
        _write(Path(os.environ[CHOSEN], f"rank-{rank}", f"{self.key}.{filename}"), text)


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    part.write_text(text, "utf-8")
    part.replace(path)

"""Which GPUs a process has for itself: free ones among those that are visible, held by a lock each until it ends."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from scripts.common.words import count as words
from scripts.provenance.gpus import VISIBLE, not_enough, visible_gpus
from scripts.records.machine import Gpu

ORDER = "CUDA_DEVICE_ORDER"
SHARED = "TEMPZERO_SHARED_GPUS"  # set where --resources gpu_gb= counts what a card has room for
POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Devices:
    """The GPUs that are held. A process that inherits `locks` (descriptors) goes on holding them."""

    gpus: Sequence[Gpu] = ()
    locks: Sequence[int] = ()

    @property
    def uuids(self) -> list[str]:
        """Their UUIDs, by which every program on the machine knows them."""
        return [str(gpu.uuid) for gpu in self.gpus]

    @property
    def visible(self) -> str:
        """The value of CUDA_VISIBLE_DEVICES: their numbers, since older vLLM read nothing else; of MIG their UUIDs."""
        return ",".join(str(gpu.uuid if gpu.index is None else gpu.index) for gpu in self.gpus)


NO_DEVICES = Devices()


@contextmanager
def hold_gpus(count: int, what: str) -> Iterator[Devices]:
    """Hold `count` of the visible GPUs for `what`, which CUDA_VISIBLE_DEVICES names to this process meanwhile.

    Where others hold too many of them it waits, in turn, and says so. With TEMPZERO_SHARED_GPUS set the first ones are
    taken and shared with all who set it too. EngineError where fewer are visible.
    """
    if not count:
        yield NO_DEVICES
        return
    visible = visible_gpus()
    if len(visible) < count:
        raise not_enough(count, len(visible), what)
    with ExitStack() as stack:
        taken = _take_turn(visible, count, what)
        for descriptor in taken.values():
            stack.callback(os.close, descriptor)
        devices = Devices([visible[number] for number in taken], list(taken.values()))
        # By number as nvidia-smi counts, which CUDA does in this order alone.
        stack.enter_context(_environment({VISIBLE: devices.visible, ORDER: "PCI_BUS_ID"}))
        yield devices


def _take_turn(visible: Sequence[Gpu], count: int, what: str) -> dict[int, int]:
    """The locks of `count` GPUs by their place among the visible. One at a time chooses, so that a session that waits
    for several is not passed by for ever."""
    queue = _open("queue")
    taken: dict[int, int] = {}
    said = False
    try:
        while not _lock(queue, fcntl.LOCK_EX) or not _take(visible, count, taken):
            if not said:
                print(f"{what}: waiting for {count} of {words(len(visible), 'GPU')}", file=sys.stderr)
                said = True
            time.sleep(POLL_SECONDS)
    except BaseException:
        for descriptor in taken.values():
            os.close(descriptor)
        raise
    finally:
        os.close(queue)
    return dict(sorted(taken.items()))


def _take(visible: Sequence[Gpu], count: int, taken: dict[int, int]) -> bool:
    """Add the locks of free GPUs to those that are `taken`, up to `count`; whether they are so many."""
    shared = bool(os.environ.get(SHARED))
    for number, gpu in enumerate(visible[:count] if shared else visible):
        if number in taken or len(taken) == count:
            continue
        descriptor = _open(str(gpu.uuid))
        if _lock(descriptor, fcntl.LOCK_SH if shared else fcntl.LOCK_EX):
            taken[number] = descriptor
        else:
            os.close(descriptor)
    return len(taken) == count


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open(name: str) -> int:
    """A file of the machine's folder of locks, which every user may lock and nobody needs to write."""
    folder = Path(tempfile.gettempdir()) / "tempzero-gpus"
    if not folder.is_dir():
        with suppress(FileExistsError):
            folder.mkdir()
            folder.chmod(0o1777)
    file = folder / f"{name.replace('/', '_')}.lock"
    with suppress(FileExistsError):  # opened without O_CREAT: of another user's file Linux would refuse that
        os.close(os.open(file, os.O_RDONLY | os.O_CREAT | os.O_EXCL, 0o644))
    return os.open(file, os.O_RDONLY)


@contextmanager
def _environment(variables: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value

"""Which GPUs a process has: free ones among those that are visible, held by a lock each until it ends; or, where cards
are shared by their memory, seats on those that have the most room."""

from __future__ import annotations

import fcntl
import math
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
SHARED = (
    "TEMPZERO_SHARED_GB"  # what --resources gpu_gb= says: memory of all GPUs that sessions share, 10^9 bytes
)
SEATS = 32  # equal parts of a shared card's memory, a lock each
POLL_SECONDS = 0.3


@dataclass(frozen=True)
class Devices:
    """The GPUs that are held. A process that inherits `locks` (descriptors) goes on holding them. `shared`: whether
    others may hold them too."""

    gpus: Sequence[Gpu] = ()
    locks: Sequence[int] = ()
    shared: bool = False

    @property
    def uuids(self) -> list[str]:
        """Their UUIDs, by which every program on the machine knows them."""
        return [str(gpu.uuid) for gpu in self.gpus]

    @property
    def visible(self) -> str:
        """The value of CUDA_VISIBLE_DEVICES: their numbers, since older vLLM read nothing else; of MIG their UUIDs."""
        return ",".join(str(gpu.uuid if gpu.index is None else gpu.index) for gpu in self.gpus)

    @contextmanager
    def playing(self) -> Iterator[None]:
        """While an engine computes. On shared cards engines start beside each other, and one on several cards then has
        them alone: kernels that wait for those of another card would else wait for other engines. In turn."""
        with ExitStack() as stack:
            if self.shared:
                how = fcntl.LOCK_EX if len(self.gpus) > 1 else fcntl.LOCK_SH
                queue = _open("play")
                try:
                    fcntl.flock(queue, fcntl.LOCK_EX)
                    for name in sorted(self.uuids):
                        stack.callback(os.close, card := _open(f"{name}.play"))
                        fcntl.flock(card, how)
                finally:
                    os.close(queue)
            yield


NO_DEVICES = Devices()


@contextmanager
def hold_gpus(count: int, what: str, memory_gb: float = 0.0) -> Iterator[Devices]:
    """Hold `count` of the visible GPUs for `what`, which CUDA_VISIBLE_DEVICES names to this process meanwhile.

    Where others hold too many of them it waits, in turn, and says so. With TEMPZERO_SHARED_GB set they are shared with
    all who set it too, as far as `memory_gb` on all of them together leaves room; the ones with the most room are
    taken. EngineError where fewer are visible.
    """
    if not count:
        yield NO_DEVICES
        return
    visible = visible_gpus()
    if len(visible) < count:
        raise not_enough(count, len(visible), what)
    seats = _seats(memory_gb / count, len(visible))
    with ExitStack() as stack:
        taken = _take_turn(visible, count, seats, what)
        locks = [descriptor for each in taken.values() for descriptor in each]
        for descriptor in locks:
            stack.callback(os.close, descriptor)
        devices = Devices([visible[number] for number in taken], locks, shared=bool(seats))
        # By number as nvidia-smi counts, which CUDA does in this order alone.
        stack.enter_context(_environment({VISIBLE: devices.visible, ORDER: "PCI_BUS_ID"}))
        yield devices


def _seats(memory_gb: float, cards: int) -> int:
    """How many parts of a card so much memory takes; 0 where cards are not shared."""
    room = float(os.environ.get(SHARED) or 0) / cards
    return min(SEATS, max(1, math.ceil(SEATS * memory_gb / room))) if room else 0


Locks = dict[int, list[int]]  # place among the visible GPUs → descriptors of what is held there


def _take_turn(visible: Sequence[Gpu], count: int, seats: int, what: str) -> Locks:
    """The locks of `count` GPUs, or of so many `seats` on each. One at a time chooses, so that a session that waits for
    several is not passed by for ever."""
    queue = _open("queue")
    taken: Locks = {}
    said = False
    try:
        while not _lock(queue, fcntl.LOCK_EX) or not (
            _take_seats(visible, count, seats, taken) if seats else _take_cards(visible, count, taken)
        ):
            if not said:
                print(f"{what}: waiting for {count} of {words(len(visible), 'GPU')}", file=sys.stderr)
                said = True
            time.sleep(POLL_SECONDS)
    except BaseException:
        for descriptor in (each for held in taken.values() for each in held):
            os.close(descriptor)
        raise
    finally:
        os.close(queue)
    return dict(sorted(taken.items()))


def _take_cards(visible: Sequence[Gpu], count: int, taken: Locks) -> bool:
    """Add the locks of free GPUs to those that are `taken`, up to `count`; whether they are so many."""
    for number, gpu in enumerate(visible):
        if number not in taken and len(taken) < count:
            descriptor = _try(str(gpu.uuid), fcntl.LOCK_EX)
            if descriptor is not None:
                taken[number] = [descriptor]
    return len(taken) == count


def _take_seats(visible: Sequence[Gpu], count: int, seats: int, taken: Locks) -> bool:
    """Take so many seats on each of the `count` GPUs with the most free ones, or none at all."""
    free: Locks = {}
    for number, gpu in enumerate(visible):
        card = _try(str(gpu.uuid), fcntl.LOCK_SH)
        names = [] if card is None else [f"{gpu.uuid}.{seat:02d}" for seat in range(SEATS)]
        found = [card, *(_try(name, fcntl.LOCK_EX) for name in names)]
        free[number] = [each for each in found if each is not None]
    roomy = sorted(free, key=lambda number: (-len(free[number]), number))[:count]
    enough = all(len(free[number]) > seats for number in roomy)
    for number, held in free.items():
        kept = 1 + seats if enough and number in roomy else 0
        for descriptor in held[kept:]:
            os.close(descriptor)
        if kept:
            taken[number] = held[:kept]
    return enough


def _try(name: str, how: int) -> int | None:
    """The descriptor of a lock that is free; None where it is not."""
    descriptor = _open(name)
    if _lock(descriptor, how):
        return descriptor
    os.close(descriptor)
    return None


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

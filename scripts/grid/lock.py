"""The lock of a workflow's folder: a `flock`, and a record that its holder keeps counting.

The kernel drops a `flock` with its process: on one machine whoever has it knows that any other trace of a workflow is
stale. From machine to machine it reaches where the shared file system hands it on (NFS does, Lustre where it is mounted
with `flock`). Where it does not, the record decides: its holder counts it up every few seconds, and what another
machine's record still counts is a workflow that lives. No two machines' clocks are compared.
"""

from __future__ import annotations

import atexit
import fcntl
import os
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import psutil

from scripts.common.errors import TempzeroError
from scripts.records.base import Record

BEAT_SECONDS = 10.0
LOOK_SECONDS = 35.0  # three beats and what a shared file system takes to show them


class FolderHeldError(TempzeroError):
    """Another workflow works in the folder."""


class Holder(Record, frozen=True, kw_only=True):
    """Who holds the folder: the content of the lock file, which is empty after a clean end."""

    pid: int
    """Its process."""
    started: str
    """When it took the folder, by its machine's clock."""
    host: str = ""
    """Its machine; empty is this one."""
    executor: str | None = None
    """What its jobs are handed to; null is this machine."""
    beat: int = 0
    """Counted up while it lives."""

    @property
    def is_here(self) -> bool:
        """Whether it runs, or ran, on this machine."""
        return self.host in ("", socket.gethostname())

    def __str__(self) -> str:
        return f"process {self.pid}" + ("" if self.is_here else f" on {self.host}")


class FolderLock:
    """The lock file `path`, from `take` until this process ends."""

    def __init__(self, path: Path, executor: str | None = None) -> None:
        self._path = path
        self._mine = Holder(
            pid=os.getpid(),
            started=time.strftime("%Y-%m-%d %H:%M:%S"),
            host=socket.gethostname(),
            executor=executor,
        )
        self._descriptor = -1
        self._ended = threading.Event()

    def take(self, look_seconds: float = LOOK_SECONDS) -> Holder | None:
        """Take it; the holder before, where that was killed. FolderHeldError naming the holder where one lives.

        A record of another machine is looked at for `look_seconds`, before it counts as one of the dead.
        """
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            is_locked = self._lock()
            last = read_holder(self._path)
            if last is None:
                return None
            if self._runs_here(last, is_locked) or (not last.is_here and self._counts(last, look_seconds)):
                raise _refused(last)
        except BaseException:
            os.close(self._descriptor)
            raise
        return read_holder(self._path)  # nothing, where it ended cleanly meanwhile

    def hold(self, beat_seconds: float = BEAT_SECONDS) -> None:
        """Write this process's record, and count it up until the process ends."""
        self._write(self._mine)
        threading.Thread(target=self._beat, args=[beat_seconds], name="folder-lock", daemon=True).start()
        atexit.register(self._release)

    def _lock(self) -> bool:
        """Whether the file system gave a `flock`; TempzeroError where another process has it."""
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise _refused(read_holder(self._path)) from error
        except OSError:
            return False  # this file system has none
        return True

    @staticmethod
    def _runs_here(last: Holder, is_locked: bool) -> bool:
        """Whether a process of this machine that is on record still runs, which a `flock` would have said."""
        return last.is_here and not is_locked and psutil.pid_exists(last.pid)

    def _counts(self, last: Holder, look_seconds: float) -> bool:
        """Whether another machine's record changes; a clean end that is seen meanwhile counts as none."""
        until = time.monotonic() + look_seconds
        while time.monotonic() < until:
            now = read_holder(self._path)
            if now != last:
                return now is not None
            time.sleep(min(1.0, look_seconds / 10))
        return False

    def _write(self, holder: Holder) -> None:
        content = msgspec.json.encode(holder)
        os.pwrite(self._descriptor, content, 0)
        os.ftruncate(self._descriptor, len(content))
        os.fsync(self._descriptor)

    def _beat(self, seconds: float) -> None:
        count = 0
        while not self._ended.wait(seconds):
            count += 1
            with suppress(OSError):  # a full disk must not end what is being computed
                self._write(msgspec.structs.replace(self._mine, beat=count))

    def _release(self) -> None:
        """Empty the file at a clean end, in the process that took it and in no fork of it."""
        if os.getpid() == self._mine.pid:
            self._ended.set()
            os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)


def read_holder(path: Path) -> Holder | None:
    """Who holds the folder by its lock file; None where the file says nothing, or is torn."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Holder)
    except (OSError, msgspec.MsgspecError):
        return None


def _refused(holder: Holder | None) -> FolderHeldError:
    who = f"{holder}, started {holder.started}" if holder else "it has just started"
    return FolderHeldError(
        f"another workflow works in this folder ({who})",
        where="results/.workflow.lock",
        remedy="wait until it ends; meanwhile `snakemake -n` looks on, and --config partial=true makes a table of "
        "what exists",
    )

"""The folder of a session or of forced passes: whole in the end, or not there."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.common.errors import DataError
from scripts.common.files import written_aside
from scripts.sessions.watch import WorkflowWatch


@contextmanager
def session_folder(folder: Path, part: str = "") -> Iterator[Path]:
    """`written_aside`, given up when the workflow is gone too; DataError where the disk is full."""
    try:
        with written_aside(folder, part) as aside:
            WorkflowWatch(aside).start()
            yield aside
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DataError(
            f"the disk is full ({error.strerror}): the session was given up and nothing of it was kept",
            where=str(folder),
            remedy="make room and run the same command again",
        ) from error

"""A folder that is written aside and takes its name once it is whole: of a failed session nothing is left."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scripts.common.errors import DataError
from scripts.sessions.watch import WorkflowWatch


@contextmanager
def written_aside(folder: Path, part: str = "") -> Iterator[Path]:
    """An empty folder `.NAME.partial` beside `folder`; its `part`, by default all of it, becomes `folder` in the end.

    On any failure, and when the workflow is gone, it is removed and `folder` stays as it was. DataError where the disk
    is full.
    """
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        (aside / part).mkdir(parents=True)
        WorkflowWatch(aside).start()
        yield aside
        shutil.rmtree(folder, ignore_errors=True)
        (aside / part).rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        raise DataError(
            f"the disk is full ({error.strerror}): the session was given up and nothing of it was kept",
            where=str(folder),
            remedy="make room and run the same command again",
        ) from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)

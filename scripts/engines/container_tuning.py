"""The caches of a server in a container: what its volumes held before it started, what is in them at its end."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from docker.errors import DockerException, NotFound
from docker.models.containers import Container

from scripts.common.errors import EngineError
from scripts.common.files import unpack_tar
from scripts.engines.container_plan import ContainerPlan
from scripts.engines.tuning import FLASHINFER_FILE, cache_states, read_chosen, read_flashinfer
from scripts.provenance.containers import said
from scripts.records.tuning import Tuned, Tuning

# Whether each folder holds a file, a line each; a path that is not absolute is below the home of the server's user.
LOOK = (
    'cd; for each; do [ -n "$(find "$each" -type f -print -quit 2>/dev/null)" ] && echo yes || echo no; done'
)


def container_caches(container: Container, plan: ContainerPlan) -> Callable[[str], Tuning | None]:
    """How to look into the caches of a container, which is not started yet, given all that its server has written.

    None is found of an engine that tunes nothing. Of several machines the head's ranks are read.
    """
    folders = plan.caches.folders(plan.environment)
    before = {
        name: any(_is_kept(each, plan) and _holds_file(container, each) for each in found)
        for name, found in folders.items()
    }

    def look(log: str) -> Tuning | None:
        if not folders:
            return None
        try:
            states = cache_states(before, _filled(container, folders))
            return Tuning(caches=states, tuned=_tuned(container, plan.caches.chosen, log))
        except DockerException as error:
            raise EngineError(
                f"what was tuned in the container cannot be read: {said(error)}", where=plan.record.image
            ) from error

    return look


def _is_kept(folder: str, plan: ContainerPlan) -> bool:
    """Whether what lies there outlives a container."""
    kept = [plan.box.cache, plan.box.tuning if plan.settings.warm_tuning else None]
    return any(each is not None and PurePosixPath(folder).is_relative_to(each) for each in kept)


def _holds_file(container: Container, folder: str) -> bool:
    """Whether a folder of a container that does not run holds a file; the folders inside come first in an archive."""
    try:
        parts, _ = container.get_archive(folder)
        beginning = next(iter(parts), b"")
        with tarfile.open(fileobj=io.BytesIO(beginning), mode="r|") as archive:
            return any(each.isfile() for each in archive)
    except NotFound:
        return False
    except tarfile.ReadError:  # the beginning ends inside a folder of many
        return True


def _filled(container: Container, folders: Mapping[str, Sequence[str]]) -> dict[str, bool]:
    """Cache → whether it holds a file, of a container that runs."""
    asked = [each for found in folders.values() for each in found]
    told = iter(container.exec_run(["sh", "-c", LOOK, "sh", *asked]).output.decode().splitlines())
    answers = {name: [next(told, "no") for _ in found] for name, found in folders.items()}
    return {name: "yes" in found for name, found in answers.items()}


def _tuned(container: Container, chosen: str, log: str) -> list[Tuned]:
    with tempfile.TemporaryDirectory() as folder:
        code, packed = container.exec_run(["tar", "-cf", "-", "-C", chosen, "."], demux=True)
        if code == 0:
            with tarfile.open(fileobj=io.BytesIO(packed[0])) as archive:
                unpack_tar(archive, Path(folder))
        tuned = read_chosen(Path(folder))
    if found := FLASHINFER_FILE.search(log):
        code, text = container.exec_run(["cat", found[1]], demux=True)
        if code == 0:
            tuned += read_flashinfer(text[0].decode())
    return tuned

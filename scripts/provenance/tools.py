"""Tools that quantise weights, run in a container: the image of one, and one command in it.

A container has no network, no rights beyond its user's, who is the one that runs this command, and of the disk what is
mounted. What it computes is what the same tool computes in a locked environment of this machine.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from docker.errors import DockerException
from docker.types import Mount

from scripts.common.errors import ConfigError, EngineError, nearest
from scripts.provenance.containers import guarded, reap, remove_container, said
from scripts.provenance.docker_engine import connect
from scripts.provenance.entries import ENGINES, read_engines
from scripts.provenance.images import build, pull
from scripts.records.engine import EngineRecord

HOME = PurePosixPath("/tempzero")  # what is named from the root is found from there


@dataclass(frozen=True)
class ToolImage:
    """What is run: the record of the image, whose lock names the packages that it holds, and the program in it."""

    record: EngineRecord
    program: tuple[str, ...]


def find_tool(name: str, program: Sequence[str]) -> ToolImage:
    """The tool `name` of config/engines.yaml, its image pulled or built where it is not here.

    `program`: what is run in the image where the entry says nothing else. ConfigError for an unknown tool,
    EngineError where its image cannot be had.
    """
    known = read_engines()
    if name not in known.tools:
        raise ConfigError(
            f"there is no tool {name!r}", where=f"{ENGINES}: tools", remedy=nearest(name, known.tools)
        )
    tool = known.tools[name]
    owner = tool.engine or name
    plan = known.engines.get(tool.engine) if tool.engine else tool
    if plan is not None and plan.build is not None:
        record = build(owner, plan.build)
    elif plan is not None and plan.image is not None:
        record = pull(owner, plan.image, plan.image_gb)
    else:
        raise ConfigError(f"{owner!r} is no engine with an image", where=f"{ENGINES}: tools.{name}.engine")
    return ToolImage(record, tuple(tool.program or program))


def mounted(folder: Path, *, read_only: bool = False) -> Mount:
    """A folder, which the container finds under the name that this command has for it."""
    return Mount(str(HOME / folder.as_posix()), str(folder.resolve()), type="bind", read_only=read_only)


def run_tool(tool: ToolImage, arguments: Sequence[str], mounts: Sequence[Mount]) -> None:
    """Run the tool's program with `arguments` in a container that is gone afterwards; what it says goes to stderr.

    Its folder is /tempzero. EngineError where it cannot be run, and where it ends with anything but 0.
    """
    with ExitStack() as stack:
        client = stack.enter_context(connect())
        reap(client)
        labels = stack.enter_context(guarded())
        try:
            container = client.containers.create(
                tool.record.image_id,
                entrypoint=[*tool.program],
                command=[*arguments],
                user=f"{os.getuid()}:{os.getgid()}",
                environment={"HOME": "/tmp", "PYTHONDONTWRITEBYTECODE": "1"},  # noqa: S108  # the container's
                working_dir=str(HOME),
                mounts=[*mounts, Mount("/tmp", None, type="tmpfs")],  # noqa: S108  # the container's
                labels=labels,
                network_mode="none",
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                init=True,
            )
            stack.callback(remove_container, client, container)
            container.start()
            for part in container.logs(stream=True, follow=True):
                sys.stderr.buffer.write(part)
                sys.stderr.buffer.flush()
            status = container.wait()["StatusCode"]
            container.reload()
        except DockerException as error:
            raise EngineError(
                f"the container cannot be run: {said(error)}", where=tool.record.image
            ) from error
        if status:
            killed = container.attrs["State"].get("OOMKilled")
            how = "it ran out of memory" if killed else f"exit status {status}"
            raise EngineError(
                f"{tool.program[-1]} failed in its container: {how}; what it said is above",
                where=tool.record.image,
            )

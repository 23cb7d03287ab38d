"""Which grid is made: the one that is named, or what `auto` finds this machine to be good for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from scripts.common.errors import ConfigError, nearest
from scripts.provenance.gpus import visible_gpus

BLACKWELL = re.compile(r"blackwell|\bG?B[123]00\b|\bRTX 50\d\d\b", re.IGNORECASE)


@dataclass(frozen=True)
class Choice:
    """A grid's name, and why this one, in words."""

    name: str
    why: str


def choose_grid(
    wanted: str,
    where: str,
    known: Sequence[str],
    gpu_names: Callable[[], list[str]] | None = None,
    docker_problem: Callable[[], str | None] | None = None,
) -> Choice:
    """The grid `wanted` names, or what `auto` chooses on this machine.

    `where`: the place that names it (a file or `--config`), `known`: the grids there are. `gpu_names` and
    `docker_problem` look at the machine (`list_gpus`, `find_docker_problem`). Raises ConfigError for an
    unknown grid.
    """
    if wanted != "auto":
        if wanted not in known:
            raise ConfigError(
                f"there is no grid {wanted!r}",
                where=f"{where}: grid",
                remedy=nearest(wanted, [*known, "auto"]),
            )
        return Choice(wanted, f"named by {'--config' if where == '--config' else where}")
    gpus = (gpu_names or list_gpus)()
    blackwell = [name for name in gpus if BLACKWELL.search(name)]
    if len(blackwell) < 4:
        seen = (
            f"nvidia-smi lists {len(gpus)} GPUs, {len(blackwell)} of them Blackwell"
            if gpus
            else "no NVIDIA GPU is seen"
        )
        return Choice("embedded", f"auto: {seen}")
    problem = (docker_problem or find_docker_problem)()
    if problem:
        return Choice("embedded", f"auto: four Blackwell GPUs, but {problem}")
    if "finding" not in known:
        return Choice(
            "embedded", "auto: four Blackwell GPUs and Docker, but there is no config/grids/finding.yaml"
        )
    return Choice("finding", "auto: four Blackwell GPUs and Docker")


def list_gpus() -> list[str]:
    """The names of the visible NVIDIA GPUs; none where there is no nvidia-smi, or it fails."""
    return [gpu.name for gpu in visible_gpus()]


def find_docker_problem() -> str | None:
    """Why Docker cannot be used here, in words, or None."""
    import docker  # slow to import, and only asked for where there are four GPUs

    try:
        client = docker.from_env(timeout=10)
        client.ping()
        client.close()
    except Exception as error:  # noqa: BLE001 (the SDK raises its own, requests' and the system's)
        return f"Docker does not answer ({type(error).__name__})"
    return None

"""What the container of a server is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import docker
from docker.models.containers import Container
from docker.types import DeviceRequest, LogConfig, Mount, Ulimit

from scripts.engines.server_kinds import ServerKind, server_kind, weights_argument
from scripts.engines.tuning import CacheFolders
from scripts.provenance.containers import link_mounts
from scripts.records.engine import EngineRecord
from scripts.records.settings import ContainerSettings, Settings

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = "/weights"
OWN_CODE = "/tempzero"
SCRATCH = "/tmp/tempzero"  # noqa: S108  # inside the container, whose only user the server is
OWN_FILES = (
    "scripts/__init__.py",
    "scripts/engines/__init__.py",
    "scripts/engines/sglang_serve.py",
    "scripts/engines/triton_choices.py",
    "scripts/engines/vllm_force.py",
    "scripts/engines/vllm_patches.py",
)


@dataclass(frozen=True)
class ContainerPlan:
    """A server to be run in a container.

    `settings`: the cell's. `record`: the engine's, whose image is run. `weights`: the quant's folder. `devices`: the
    UUIDs of the GPUs that it gets.
    """

    settings: Settings
    record: EngineRecord
    weights: Path
    devices: Sequence[str] = ()

    @property
    def kind(self) -> ServerKind:
        """Which server it is."""
        return server_kind(self.settings.kind)

    @property
    def box(self) -> ContainerSettings:
        """How its container is run."""
        return self.settings.container or ContainerSettings()

    @property
    def served(self) -> str:
        """The weights as a container sees them."""
        return str(PurePosixPath(WEIGHTS) / weights_argument(self.kind, self.weights))

    @property
    def own_files(self) -> dict[str, Path]:
        """The files of this project that the server imports, by the place where a container has them."""
        if not self.kind.program[-1].startswith(("vllm", "scripts")):
            return {}
        return {f"{OWN_CODE}/{file}": ROOT / file for file in OWN_FILES}

    @property
    def environment(self) -> dict[str, str]:
        """The variables that the container has whatever serves."""
        own = {"PYTHONPATH": OWN_CODE} if self.own_files else {}
        return {**self.kind.environment, **self.caches.environment, **self.settings.environment, **own}

    @property
    def caches(self) -> CacheFolders:
        """Where the server keeps its caches: in memory, in a volume that stays, or in the container's own files."""
        return CacheFolders(self.settings.kind, self.box.tuning or f"{SCRATCH}/tuning", f"{SCRATCH}/chosen")

    @property
    def gpus(self) -> list[DeviceRequest] | None:
        """The GPUs that Docker is asked for."""
        return [DeviceRequest(device_ids=[*self.devices], capabilities=[["gpu"]])] if self.devices else None

    def create(
        self,
        client: docker.DockerClient,
        image: str,
        *,
        entrypoint: list[str],
        command: list[str],
        labels: dict[str, str],
        environment: dict[str, str],
        ports: dict[str, tuple[str, int]],
    ) -> Container:
        """A container of it, not started; DockerException where it cannot be made.

        `environment` comes on top of what it has.
        """
        own = [Mount(at, str(file), type="bind", read_only=True) for at, file in self.own_files.items()]
        shared = Mount(WEIGHTS, str(self.weights.resolve()), type="bind", read_only=True)
        limits = [Ulimit(name="memlock", soft=-1, hard=-1), Ulimit(name="stack", soft=2**26, hard=2**26)]
        shm = self.box.shm_gb
        return client.containers.create(
            image,
            entrypoint=entrypoint,
            command=command,
            labels=labels,
            environment={**self.environment, **environment},
            mounts=[shared, *link_mounts(self.weights), *self._caches(), *own],
            ports=ports,
            init=True,
            security_opt=["no-new-privileges"],
            log_config=LogConfig(type=LogConfig.types.JSON),
            device_requests=self.gpus,
            ulimits=limits if self.devices else None,
            shm_size=None if shm is None else int(shm * 10**9),
            ipc_mode="host" if self.box.ipc == "host" else None,
        )

    def _caches(self) -> list[Mount]:
        """Compiled kernels in a volume that stays, tuning results in memory (unless the variant keeps them)."""
        image = (self.record.image_id or "").removeprefix("sha256:")[:12]
        name, box = f"tempzero-{self.settings.engine}-{image}", self.box
        mounts: list[Mount] = []
        if box.cache:
            mounts.append(Mount(box.cache, f"{name}-kernels", type="volume"))
        if box.tuning and self.settings.warm_tuning:
            mounts.append(Mount(box.tuning, f"{name}-tuning", type="volume"))
        elif box.tuning:
            mounts.append(Mount(box.tuning, None, type="tmpfs"))
        return mounts

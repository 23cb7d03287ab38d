"""On what a result was made: the machine, the code, the engine's container. Nothing names a machine or its user."""

from __future__ import annotations

from scripts.records.base import FileRecord, Record


class Gpu(Record, frozen=True, kw_only=True, omit_defaults=True):
    """One GPU."""

    name: str
    """Its name by nvidia-smi."""
    memory_bytes: int | None = None
    """Its memory in bytes; missing where nvidia-smi does not say."""
    uuid: str | None = None
    """Which card of its machine it was; missing in older files."""
    index: int | None = None
    """Its number by nvidia-smi; missing in older files, and of a part of a card (MIG)."""


class Cores(Record, frozen=True, kw_only=True):
    """Processor cores; null where the system does not say."""

    physical: int | None
    """Cores without hyper-threading."""
    logical: int | None
    """Hardware threads."""
    usable: int | None
    """Hardware threads that the process may run on."""


class Machine(Record, frozen=True, kw_only=True):
    """The machine that a session ran on. Null (or missing, in an older file) is what could not be found out."""

    cpu: str | None = None
    """The processor's name."""
    instruction_sets: list[str] | None = None
    """Those instruction sets that choose another kernel in an engine."""
    cores: Cores | None = None
    """How many there are."""
    memory_bytes: int | None = None
    """Main memory in bytes."""
    gpus: list[Gpu] | None = None
    """The GPUs that the engine had; of one that takes none the visible ones. Empty without any."""
    driver: str | None = None
    """NVIDIA's driver; null without a GPU."""
    cuda: str | None = None
    """The CUDA version that the driver brings; null without a GPU."""
    os: str | None = None
    """The operating system's name and release."""
    kernel: str | None = None
    """The kernel's release."""
    libc: str | None = None
    """The C library and its version."""
    python: str | None = None
    """The version of the Python that ran the session."""


class Code(FileRecord, frozen=True, kw_only=True):
    """The checkout that made a result (`code/commit.json` of an archive); null where it is no git checkout."""

    commit: str | None = None
    """The commit's 40 hexadecimal digits."""
    dirty: bool | None = None
    """Whether tracked files differ from it."""


class DeviceRequest(Record, frozen=True, kw_only=True):
    """Devices that Docker was asked for."""

    driver: str | None
    """The driver that gives them; null is Docker's choice."""
    count: int | None
    """How many; -1 is all, 0 where they are named."""
    devices: list[str]
    """Which, by number or UUID, sorted."""
    capabilities: list[list[str]]
    """What they must be capable of."""


class Ulimit(Record, frozen=True, kw_only=True):
    """A limit of the container's processes; -1 is none."""

    name: str
    """Which limit."""
    soft: int
    """The limit in force."""
    hard: int
    """What it can be raised to."""


class ContainerMount(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A mount of a container."""

    at: str
    """Where the container finds it; a folder of the owner's is not named."""
    type: str
    """bind, volume or tmpfs."""
    read_only: bool
    """Whether the container can only read it."""
    volume: str | None = None
    """The volume's name, of a volume."""


class ContainerFacts(Record, frozen=True, kw_only=True):
    """What Docker really gave a container, read back from Docker. Null is Docker's default."""

    image_id: str
    """The id of the image that ran."""
    user: str
    """The user inside."""
    device_requests: list[DeviceRequest]
    """Devices that were asked for."""
    shm_bytes: int | None
    """Shared memory in bytes."""
    ipc: str | None
    """The IPC namespace."""
    ulimits: list[Ulimit]
    """Limits, by name."""
    memory_bytes: int | None
    """The memory limit in bytes; null is none."""
    cpus: str | None
    """The processors that it was pinned to; null is none."""
    network: str | None
    """The network that it was in."""
    published: list[str]
    """Ports outside → inside; of one that varies the address alone."""
    security: list[str]
    """Security options."""
    mounts: list[ContainerMount]
    """What was mounted."""
    compiled_kernels: str | None
    """The volume in which compiled kernels are kept; null where the engine has none."""
    tuning_results: str | None
    """fresh or kept; null where the engine has no such folder."""

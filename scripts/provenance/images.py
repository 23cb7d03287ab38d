"""The images of engines: pulled by digest, or built here from a folder of containers/ and a lock."""

from __future__ import annotations

import fcntl
import hashlib
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import docker
from docker.errors import APIError, BuildError, DockerException, ImageNotFound, NotFound
from docker.utils import parse_repository_tag
from msgspec.structs import replace

from scripts.common.errors import ConfigError, EngineError
from scripts.common.files import sha256_file
from scripts.provenance.docker_engine import check_gpus, check_room, connect, image_record
from scripts.provenance.environments import LOCAL_BUILD, TORCH_INDEX
from scripts.records.engine import BaseImage, EngineRecord
from scripts.records.engines import Build, EngineEntry
from scripts.records.session import SessionRecord

# Labels of what is built here: which image it is, or was a stage of, and the sha256 of all that it was built from.
IMAGE = "tempzero.image"
INPUTS = "tempzero.inputs"
REQUIREMENT = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==\S+.*(?:\n[ \t]+.*)*", re.MULTILINE)


def pull_image(
    engine: str, entry: EngineEntry, needed_gb: float = 0.0, cells: Path = Path("results/cells")
) -> EngineRecord:
    """Pull the engine's image and return its record; a pinned digest is verified.

    A bare tag is resolved at the first pull: where sessions of the engine lie under `cells`, the image that they ran is
    had by its digest, whatever the tag names by now. `needed_gb`: GPU memory that the largest quant wants on this
    machine. EngineError before the pull where Docker, GPUs, their memory or the disk do not suffice, and where the
    registry has no such image.
    """
    assert entry.image is not None
    digest = None if "@" in entry.image else _digest_used(engine, entry.image, cells)
    reference = f"{parse_repository_tag(entry.image)[0]}@{digest}" if digest else entry.image
    record = pull(engine, reference, entry.image_gb, gpus=entry.gpus, needed_gb=needed_gb)
    return replace(record, kind=entry.kind, runtime=entry.runtime, image=entry.image)


def _digest_used(engine: str, image: str, cells: Path) -> str | None:
    """The digest that a tag had for the sessions of an engine that are there; None where none says so."""
    for file in sorted(cells.glob(f"*/*/{engine}/*/session-*/session.json")):
        record = SessionRecord.read(file).engine_record
        if record is not None and record.image == image and record.digest is not None:
            return record.digest
    return None


def pull(
    name: str, reference: str, image_gb: float | None, *, gpus: int = 0, needed_gb: float = 0.0
) -> EngineRecord:
    """As pull_image, of a tool as well as of an engine."""
    with connect() as client:
        check_gpus(client, gpus, needed_gb)
        try:
            found = image_record(client, reference)
        except ImageNotFound:
            check_room(client, reference, image_gb)
            _pull(client, reference)
            found = image_record(client, reference)
    check_digest(reference, found)
    return _record(name, found)


def check_digest(reference: str, found: BaseImage) -> None:
    """EngineError where `reference` pins a digest and the image that was `found` (image_record) has another."""
    wanted = reference.partition("@")[2]
    if wanted and found.digest != wanted:
        has = f"is {found.digest}" if found.digest else f"({found.image_id}) has no digest of a registry"
        raise EngineError(
            f"the image {has}, and {wanted} was asked for",
            where=reference,
            remedy="docker image rm it and give the command again, or correct its digest in config/engines.yaml",
        )


def build_image(engine: str, entry: EngineEntry) -> EngineRecord:
    """Build the engine's image from its folder of containers/ and return its record."""
    assert entry.build is not None
    return replace(build(engine, entry.build, gpus=entry.gpus), kind=entry.kind, runtime=entry.runtime)


def build(name: str, plan: Build, *, gpus: int = 0) -> EngineRecord:
    """As build_image, of a tool as well as of an engine; the image is called `tempzero-NAME:built`.

    The packages that it names of its lock are fetched here, by hash, and put into the build's context as `packages/`,
    so that the image holds what the lock says and the build takes nothing else from a package index. An image that is
    here and was built from the same is not built again; of a build nothing but the image itself stays.
    """
    folder = Path(plan.folder)
    tag = f"tempzero-{name}:built"
    sources = {
        file.relative_to(folder).as_posix(): sha256_file(file)
        for file in sorted(folder.rglob("*"))
        if file.is_file()
    }
    with connect() as client, _alone(name):
        check_gpus(client, gpus)
        base = _base(client, plan.base)
        labels = {IMAGE: name, INPUTS: _inputs(sources, plan, base.image_id)}
        if not _is_built(client, tag, labels[INPUTS]):
            with tempfile.TemporaryDirectory() as aside:
                context = Path(aside)
                shutil.copytree(folder, context, dirs_exist_ok=True)
                if plan.lock:
                    fetch_packages(Path(plan.lock), plan.packages, context / "packages")
                _say(f"building {tag} from {folder}")
                _build(client, context, tag, plan.base, labels)
            _remove_leftovers(client, name)
        found = image_record(client, tag)
    locked = sha256_file(Path(plan.lock)) if plan.lock else None
    return replace(_record(name, found), lock=plan.lock, lock_sha256=locked, base=base, build=sources)


@contextmanager
def _alone(name: str) -> Iterator[None]:
    """Hold an image's name against every other build of this machine: what one leaves, another may be about to use."""
    folder = Path(tempfile.gettempdir()) / "tempzero-images"
    folder.mkdir(mode=0o1777, exist_ok=True)
    with open(folder / f"{name}.lock", "a") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say(f"tempzero-{name}: another process builds it; waiting")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _inputs(sources: Mapping[str, str], plan: Build, base: str) -> str:
    """The sha256 of all that an image follows from."""
    told = [
        base,
        *(plan.packages or ()),
        *((plan.lock, sha256_file(Path(plan.lock))) if plan.lock else ()),
        *(f"{name} {digest}" for name, digest in sources.items()),
    ]
    return hashlib.sha256("\n".join(told).encode()).hexdigest()


def _is_built(client: docker.DockerClient, tag: str, inputs: str) -> bool:
    try:
        return bool(client.images.get(tag).labels.get(INPUTS) == inputs)
    except ImageNotFound:
        return False


def _remove_leftovers(client: docker.DockerClient, name: str) -> None:
    """Remove what a build leaves without a name: its stages, and the image that had the name before.

    One that a container still uses stays, and goes after the next build.
    """
    for image in client.images.list(filters={"dangling": True, "label": f"{IMAGE}={name}"}):
        with suppress(APIError):
            client.images.remove(image.id)


def fetch_packages(lock: Path, names: list[str] | None, target: Path) -> None:
    """Download a lock's packages (`names`: these alone, as source) into `target`."""
    text = lock.read_text(encoding="utf-8")
    pins = {match[1].lower(): match[0] for match in REQUIREMENT.finditer(text)}
    for each in names or ():
        if each.lower() not in pins:
            raise ConfigError(f"the lock has no package {each!r}", where=str(lock))
    target.mkdir(parents=True, exist_ok=True)
    wanted = target / "wanted.txt"
    wanted.write_text(
        "\n".join(pins[each.lower()] for each in names) + "\n" if names else text, encoding="utf-8"
    )
    _say(f"fetching {len(names) if names else len(pins)} package(s) of {lock}")
    sources = ["--no-binary", ",".join(names)] if names else ["--only-binary", ":all:"]
    pip = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "download",
        "--no-deps",
        "--require-hashes",
    ]
    command = [*pip, *sources, "--dest", str(target), "-r", str(wanted)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0 and LOCAL_BUILD.search(text):
        done = subprocess.run([*command, "--extra-index-url", TORCH_INDEX], capture_output=True, text=True)
    if done.returncode != 0:
        said = " ".join((done.stderr or done.stdout).split()[-60:])
        raise EngineError(f"the image's packages could not be fetched: {said}", where=str(lock))
    wanted.unlink()


def _base(client: docker.DockerClient, base: str) -> BaseImage:
    try:
        return image_record(client, base)
    except ImageNotFound:
        _say(f"pulling the base image {base}")
    try:
        _pull(client, base)
    except EngineError as error:
        raise EngineError(
            error.what, where=base, remedy="sh containers/base/make_base.sh makes one without a registry"
        ) from error
    return image_record(client, base)


def _pull(client: docker.DockerClient, reference: str) -> None:
    _say(f"pulling {reference}")
    repository, tag = parse_repository_tag(reference)
    try:
        # The client's own images.pull heeds no error once a pull has begun: a full disk would be a missing image.
        for event in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:
                raise _refused(reference, str(event["error"]))
    except NotFound as error:
        raise _refused(reference, "not found") from error
    except DockerException as error:
        raise _refused(reference, str(getattr(error, "explanation", None) or error)) from error


def _refused(reference: str, said: str) -> EngineError:
    """What Docker said of a pull that failed, and what can be done."""
    if "manifest unknown" in said or "not found" in said:
        return EngineError(
            "the registry has no such image: its digest or tag does not exist any more",
            where=reference,
            remedy="look up a digest that does exist, and enter it as an engine of its own",
        )
    if "verification failed" in said:
        remedy = (
            "what the registry gives is not what was pinned: take it from another, or find out what changed"
        )
    else:
        remedy = "give the same command again: layers that are here are not pulled twice"
    return EngineError(f"the image cannot be pulled: {said}", where=reference, remedy=remedy)


def _build(client: docker.DockerClient, context: Path, tag: str, base: str, labels: dict[str, str]) -> None:
    arguments = {"BASE": base, "NAME": labels[IMAGE]}
    try:
        client.images.build(
            path=str(context), tag=tag, buildargs=arguments, labels=labels, rm=True, forcerm=True
        )
    except BuildError as error:
        lines = [
            str(part.get("stream", "")).rstrip() for part in error.build_log if part.get("stream", "").strip()
        ]
        said = "".join(f"\n    {line}" for line in lines[-15:])
        raise EngineError(
            f"the image cannot be built: {error.msg}; its last lines:{said}", where=tag
        ) from error
    except APIError as error:
        raise EngineError(f"the image cannot be built: {error.explanation or error}", where=tag) from error


def _record(name: str, image: BaseImage) -> EngineRecord:
    return EngineRecord(
        engine=name,
        kind="tool",
        runtime="docker",
        image=image.image,
        image_id=image.image_id,
        digest=image.digest,
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

"""Locked environments: a virtual environment a lock file, each package pinned by version and hash.

`envs/NAME.lock` becomes `.envs/NAME-{first 12 hex digits of its sha256}`; a stamp written last says that it is whole.
Where there is an `envs/NAME-build.lock`, it holds the tools that compile the packages that come as source, and
`envs/NAME-build.cmake` says how; both are part of the stamp.
"""

from __future__ import annotations

import collections
import fcntl
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import psutil

from scripts.common.errors import ConfigError, TempzeroError
from scripts.common.files import sha256_file, write_whole
from scripts.records.engine import Adopted

STAMP = ".complete"
ADOPTED = (
    "adopted.json"  # in the folder of an environment that was there before: how it differs from its lock
)
STEP = re.compile(r"\[(\d+)/(\d+)\] ")
PINNED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
SOURCES = {"llamacpp": "llama-cpp-python"}
LOCAL_BUILD = re.compile(r"^torch==\S+\+cpu(?: \\\n +--hash=\S+)+", re.MULTILINE)
TORCH_INDEX = "https://download.pytorch.org/whl/cpu"  # PyPI holds CUDA builds of torch alone

LIST_PACKAGES = """
import importlib.metadata, json
found = [(d.metadata["Name"], d.version) for d in importlib.metadata.distributions()]
print(json.dumps(dict(reversed(found))))  # of two the first on the path is the one that is imported
"""


def env_folder(lock: Path) -> Path:
    """The folder of a lock's environment, beside envs/: `.envs/{stem}-{12 hex digits}`. DataError without the lock."""
    return lock.parent.parent / ".envs" / f"{lock.stem}-{sha256_file(lock)[:12]}"


def env_python(lock: Path) -> Path:
    """The Python of a lock's environment, whether it is there or not."""
    return env_folder(lock) / "bin" / "python"


def is_complete(lock: Path) -> bool:
    """Whether a lock's environment was built whole, from the build files that are there now."""
    try:
        return (env_folder(lock) / STAMP).read_text(encoding="utf-8") == stamp(lock)
    except OSError:
        return False


def create_environment(lock: Path) -> None:
    """Build a lock's environment, unless it is there whole.

    One process at a time builds it; the others wait. What a killed build left is begun anew. pip's output goes
    to `.envs/{name}.log`, progress to stderr. Raises TempzeroError with the end of pip's output and what to do.
    """
    if not lock.is_file():
        raise ConfigError("the lock file is missing", where=str(lock))
    if is_complete(lock):
        return
    folder = env_folder(lock)
    with _alone(folder) as claim:
        if is_complete(lock):
            return
        _check_tools(lock)
        log = folder.with_name(f"{folder.name}.log")
        log.unlink(missing_ok=True)
        _say(f"{folder}: building it from {lock}; the full log is {log}")
        begun = time.monotonic()
        build = _Build(log, claim)
        build.step([sys.executable, "-m", "venv", "--clear", str(folder)], "making the virtual environment")
        _install(lock, folder, build)
        write_whole(folder / STAMP, stamp(lock))
        _say(f"{folder}: ready after {time.monotonic() - begun:.0f} s")


@dataclass(frozen=True)
class Environment:
    """A lock's sha256, the versions installed of what it names, and of an adopted one how it differs from the lock."""

    lock_sha256: str
    packages: dict[str, str]
    adopted: Adopted | None


def describe_environment(lock: Path) -> Environment:
    """What is in the whole environment of a lock."""
    installed = installed_packages(env_folder(lock))
    pinned = {normal_name(name) for name in PINNED.findall(lock.read_text(encoding="utf-8"))}
    adopted = env_folder(lock) / ADOPTED
    return Environment(
        lock_sha256=sha256_file(lock),
        packages={name: installed[name] for name in sorted(pinned & set(installed))},
        adopted=Adopted.read(adopted) if adopted.is_file() else None,
    )


def installed_packages(folder: Path) -> dict[str, str]:
    """The packages that an environment's Python sees: normal name → version. TempzeroError where it does not run."""
    done = subprocess.run([folder / "bin" / "python", "-c", LIST_PACKAGES], capture_output=True, text=True)
    if done.returncode != 0:
        raise TempzeroError(
            "its Python does not run", where=str(folder), remedy="delete the folder and start again"
        )
    return {normal_name(name): version for name, version in json.loads(done.stdout).items()}


def normal_name(name: str) -> str:
    """A package's name as indexes compare it: small letters, one dash for any of `-_.`."""
    return re.sub(r"[-_.]+", "-", name).lower()


def build_files(lock: Path) -> list[Path]:
    """Of a lock whose environment is compiled in part: the build tools' lock and how it is compiled."""
    files = [lock.with_name(f"{lock.stem}-build.lock"), lock.with_name(f"{lock.stem}-build.cmake")]
    return [file for file in files if file.is_file()]


def stamp(lock: Path) -> str:
    """What says that a lock's environment is whole: the sha256 of everything that it is built from."""
    return "".join(f"{sha256_file(file)}  {file.name}\n" for file in [lock, *build_files(lock)])


@contextmanager
def _alone(folder: Path) -> Iterator[int]:
    """Hold the folder's lock; what is yielded is its descriptor, which the build's processes inherit.

    So a build whose command was killed, but whose pip lives on, is waited for too.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with open(folder.with_name(f"{folder.name}.lock"), "w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            _say(f"{folder}: another process builds it; waiting")
            fcntl.flock(stream, fcntl.LOCK_EX)
        yield stream.fileno()


def _check_tools(lock: Path) -> None:
    """What pip cannot bring: a compiler where something is compiled, and room for it."""
    if build_files(lock):
        missing = [
            names[0]
            for names in (("gcc", "cc", "clang"), ("g++", "c++", "clang++"))
            if not any(map(shutil.which, names))
        ]
        if missing:
            raise TempzeroError(
                f"{' and '.join(missing)} cannot be found, and {SOURCES.get(lock.stem, 'a package')} is compiled",
                where=str(lock),
                remedy="install a C and C++ compiler (Debian and Ubuntu: sudo apt install build-essential)",
            )
    free = shutil.disk_usage(env_folder(lock).parent).free
    if free < 2**30:
        raise TempzeroError(
            f"{free / 2**30:.1f} GiB of disk are free, an environment takes up to 1 GiB",
            where=str(env_folder(lock).parent),
            remedy="make room there",
        )


def _install(lock: Path, folder: Path, build: _Build) -> None:
    """Install what the lock pins, compiling with the pinned tools and nothing else."""
    pip = [
        str(folder / "bin" / "python"),
        "-m",
        "pip",
        "--disable-pip-version-check",
        "install",
        "--require-hashes",
    ]
    pip.append("--no-deps")  # a lock names all that is needed, and leaves out on purpose what is not
    unset = ("PYTHONPATH", "PYTHONHOME", "CMAKE_ARGS")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    source = SOURCES.get(lock.stem)
    options = ["--only-binary", ":all:", *(["--no-binary", source] if source else [])]
    tools = folder / "build-tools"
    for file in build_files(lock):
        if file.suffix == ".lock":
            build.step(
                [*pip, "--target", str(tools), "-r", str(file)], "installing the build tools", environment
            )
            options.append("--no-build-isolation")
            environment["PYTHONPATH"] = str(tools.resolve())
        else:
            environment["CMAKE_ARGS"] = f"-C {file.resolve()}"
    if local := LOCAL_BUILD.search(lock.read_text(encoding="utf-8")):
        options += build.find_links(local[0], pip[:4], folder / "wheels", environment)
    what = "installing packages" + (f", compiling {source} (some minutes)" if source else "")
    # The build tools are on PYTHONPATH: without --ignore-installed pip would take what they hold for installed.
    build.step([*pip, "--verbose", "--ignore-installed", *options, "-r", str(lock)], what, environment)
    shutil.rmtree(tools, ignore_errors=True)
    shutil.rmtree(folder / "wheels", ignore_errors=True)


@dataclass(frozen=True)
class _Build:
    """A build's log and its claim on the folder."""

    log: Path
    claim: int

    def find_links(
        self, requirement: str, pip: list[str], wheels: Path, environment: dict[str, str]
    ) -> list[str]:
        """Fetch a CPU build of torch from where pip looks, else from torch's own index; pip's option for it."""
        wheels.mkdir(parents=True, exist_ok=True)
        wanted = wheels / "torch.txt"
        wanted.write_text(requirement + "\n", encoding="utf-8")
        fetch = [*pip, "download", "--no-deps", "--require-hashes", "--dest", str(wheels), "-r", str(wanted)]
        try:
            self.step(fetch, "fetching torch's CPU build", environment)
        except TempzeroError:
            self.step([*fetch, "--index-url", TORCH_INDEX], f"fetching it from {TORCH_INDEX}", environment)
        return ["--find-links", str(wheels)]

    def step(self, command: list[str], what: str, environment: dict[str, str] | None = None) -> None:
        """Run one step, output to the log, progress to stderr; TempzeroError with its last lines if it fails."""
        _say(f"  {what}")
        last: collections.deque[str] = collections.deque(maxlen=15)
        with open(self.log, "a", encoding="utf-8") as stream:
            process = subprocess.Popen(
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                env=environment,
                pass_fds=[self.claim],
                start_new_session=True,
            )
            assert process.stdout is not None
            try:
                _follow(process.stdout, stream, last)
                code = process.wait()
            except BaseException:
                for child in psutil.Process(process.pid).children(recursive=True):
                    child.kill()  # ninja gives each compiler a process group of its own
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise
        if code != 0:
            said = "".join(f"\n    {line}" for line in last)
            raise TempzeroError(
                f"{what} failed (exit status {code}); its last lines:{said}",
                where=str(self.log),
                remedy="mend what they say (network, disk, compiler) and give the same command again",
            )


def _follow(output: IO[str], log: IO[str], last: collections.deque[str]) -> None:
    """Copy the output to the log; say how far the compiler is, at most every ten seconds."""
    said = time.monotonic()
    for line in output:
        log.write(line)
        if line.strip():
            last.append(line.strip()[:200])
        step = STEP.search(line)
        if step and (time.monotonic() - said > 10 or step[1] == step[2]):
            said = time.monotonic()
            _say(f"  compiled {step[1]} of {step[2]}")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)

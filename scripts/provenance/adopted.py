"""Adopted environments: a Python with packages that are already there takes the place of a locked environment.

Where pip reaches no index, a lock cannot be installed; what is there is then compared with it, package by package, and
the difference is part of the record. Hashes of what was installed before cannot be checked, and the record says so.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import write_whole
from scripts.provenance.environments import (
    ADOPTED,
    STAMP,
    env_folder,
    installed_packages,
    normal_name,
    stamp,
)
from scripts.records.engine import Adopted

PINS = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==([^ \\;]+)", re.MULTILINE)
SHOWN = 8


def adopt_environment(
    lock: Path, packages: Sequence[Path], *, allow_other: bool = False, allow_missing: bool = False
) -> Adopted:
    """Make the lock's environment of the folders `packages`, and return what differs.

    DataError where a package is missing or of another version and that was not allowed, ConfigError for a folder that
    is not there.
    """
    for folder in packages:
        if not folder.is_dir():
            raise ConfigError(
                "there is no such folder", where=str(folder), remedy="name a site-packages folder"
            )
    environment = env_folder(lock)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(environment)], check=True)
    site = next((environment / "lib").glob("python*/site-packages"))
    lines = "".join(f"{folder.resolve()}\n" for folder in packages)
    (site / "adopted.pth").write_text(lines, encoding="utf-8")
    found = compare(lock.read_text(encoding="utf-8"), installed_packages(environment))
    for kind, differ, allowed in (
        ("missing", found.missing, allow_missing),
        ("other", found.other, allow_other),
    ):
        if differ and not allowed:
            names = [f"{name} ({said})" for name, said in differ.items()]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            raise DataError(
                f"{kind}: {', '.join(names[:SHOWN])}{more}",
                where=str(lock),
                remedy=f"install what the lock pins, or give --allow-{kind}",
            )
    found.write(environment / ADOPTED)
    write_whole(environment / STAMP, stamp(lock))
    return found


def compare(lock: str, installed: dict[str, str]) -> Adopted:
    """What a lock's text pins and `installed` (normal name → version) lacks or has otherwise."""
    missing: dict[str, str] = {}
    other: dict[str, str] = {}
    for name, version in PINS.findall(lock):
        there = installed.get(normal_name(name))
        if there is None:
            missing[normal_name(name)] = version
        elif there.partition("+")[0] != version.partition("+")[0]:
            other[normal_name(name)] = f"{version}, there is {there}"
    return Adopted(missing=missing, other=other)

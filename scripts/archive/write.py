"""Writing the archive: what is recorded is checked against what is there, then all of it is packed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from scripts.archive.check import refuse_disagreements
from scripts.archive.contents import COMMIT, GRID, METADATA, PATCH, SUMS, code_files, result_files
from scripts.archive.crate import render_crate
from scripts.archive.pack import write_zip
from scripts.common.files import sha256_bytes, sha256_file
from scripts.provenance.code import changes, describe_code
from scripts.records.grid import Grid


def write_archive(root: Path, output: Path) -> str:
    """Write the archive of the grid that is recorded under `root` and return the zip's sha256.

    DataError names each session and forced replay whose record disagrees with what lies beside it, and each file
    that is missing; no archive is written then.
    """
    again = "run what is named again: snakemake --cores 1 -R SESSION_JSON -- archive"
    refuse_disagreements(root, Grid.read(root / GRID), again)
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".archive.") as name:
        staged = Path(name)
        for file in [*result_files(root), *code_files(root)]:
            _stage(root / file, staged / file)
        code = describe_code(root)
        code.write(staged / COMMIT)
        if code.dirty:
            (staged / PATCH).write_bytes(changes(root))
        files = hash_files(staged)
        metadata = render_crate(staged, files)
        (staged / METADATA).write_text(metadata, encoding="utf-8")
        files[METADATA] = sha256_bytes(metadata.encode())
        (staged / SUMS).write_text(render_sums(files), encoding="utf-8")
        files[SUMS] = sha256_file(staged / SUMS)
        write_zip(output, staged, files)
    return sha256_file(output)


def render_sums(files: dict[str, str]) -> str:
    """SHA256SUMS as `sha256sum --check` reads it; `files`: the sha256 of each by name."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))


def hash_files(folder: Path) -> dict[str, str]:
    """The sha256 of every file under `folder` by its path from there."""
    return {
        path.relative_to(folder).as_posix(): sha256_file(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def _stage(source: Path, target: Path) -> None:
    """A second name of the file, or a copy where the file system has none to give."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source.resolve(), target)
    except OSError:
        shutil.copyfile(source, target)

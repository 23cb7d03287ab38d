"""A quant's manifest: the sha256 of every file of weights, what is quantised, and where it comes from.

Deterministic: files sorted by path, no date, no host, no absolute path.
"""

from __future__ import annotations

from pathlib import Path

from scripts.common.errors import DataError
from scripts.quants.hashes import cached_sha256s
from scripts.quants.safetensors_files import describe_groups, read_tensors, types_by_group
from scripts.records.manifest import Manifest, ManifestFile, WeightsSource

NAME = "manifest.json"


def make_manifest(
    folder: Path,
    *,
    model: str,
    precision: str,
    source: WeightsSource,
    types: dict[str, dict[str, int]] | None = None,
    quantised: str | None = None,
) -> Manifest:
    """The manifest of the files in `folder` (hidden ones and an old manifest apart).

    `source`: repository and revision, or recipe, and the manifest it was built from. `types`: how many tensors of each
    group have which type, by default of its safetensors files. `quantised`: the table's words for what is quantised, by
    default what the types say.
    """
    if types is None:
        types = types_by_group(read_tensors(folder))
    paths = [
        path.relative_to(folder)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != NAME and not _hidden(path.relative_to(folder))
    ]
    hashes = cached_sha256s(folder, [path.as_posix() for path in paths])
    files = [
        ManifestFile(
            path=path.as_posix(), size=(folder / path).stat().st_size, sha256=hashes[path.as_posix()]
        )
        for path in paths
    ]
    return Manifest(
        model=model,
        precision=precision,
        files=files,
        bytes=sum(file.size for file in files),
        quantised=describe_groups(types) if quantised is None else quantised,
        tensor_types=types,
        source=source,
    )


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest beside its files."""
    manifest.write(folder / NAME)


def verify_manifest(path: Path) -> Manifest:
    """Read a manifest and check every file against it; DataError names the first that is missing or changed."""
    manifest = Manifest.read(path)
    remedy = f"build the quant again: snakemake --cores 1 -F -- {path}"
    there = [entry.path for entry in manifest.files if (path.parent / entry.path).is_file()]
    sizes = {entry: (path.parent / entry).stat().st_size for entry in there}
    hashes = cached_sha256s(
        path.parent, [each.path for each in manifest.files if sizes.get(each.path) == each.size]
    )
    for entry in manifest.files:
        file = path.parent / entry.path
        if entry.path not in sizes:
            raise DataError("the manifest names this file and it is missing", where=str(file), remedy=remedy)
        if hashes.get(entry.path) != entry.sha256:
            raise DataError(
                "the file is not the one that the manifest names: it has changed",
                where=str(file),
                remedy=remedy,
            )
    return manifest

"""Quants that exist elsewhere: pulled from a hub at a pinned revision, or taken from a folder of this machine.

Runs in the environment of envs/hub.lock. Weights come as safetensors or GGUF only, and no code of a repository is
ever pulled, let alone run. A dropped connection goes on where it stopped; of a pull that was given up the files that
were whole are kept, since the hub's client begins a torn one anew.
"""

from __future__ import annotations

import fnmatch
import shutil
import sys
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import read_json
from scripts.quants.checkpoint import CONFIG
from scripts.quants.hashes import cached_sha256
from scripts.quants.manifest import make_manifest, write_manifest
from scripts.records.manifest import WeightsSource
from scripts.records.models import Precision, TokenizerSource
from scripts.workload.chat import check_chat_form

WEIGHTS = ("*.safetensors",)
TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
    "vocab.json",
    "merges.txt",
)
BESIDE = (*TOKENIZER, "*.json", "*.jinja", "*.txt", "*.model")
NEVER = (
    "*.py",
    "*.bin",
    "*.pt",
    "*.pth",
    "*.ckpt",
    "*.h5",
    "*.msgpack",
    "*.onnx",
    "*.pkl",
    "original/*",
    "*/.*",
    ".*",
)


def fetch_quant(model: str, precision: str, entry: Precision, output: Path) -> None:
    """Bring the weights of `entry` (`repository` and `revision`, or `local_path`) beside `output`, their manifest.

    The manifest is written last. DataError where the hub refuses, has no such thing any more, or where what came is
    incomplete or not what the hub says it is.
    """
    folder = output.parent
    folder.mkdir(parents=True, exist_ok=True)
    if entry.served:
        _serve(model, precision, entry, folder)
        return
    source = _link(Path(entry.local_path), folder) if entry.local_path else _pull(entry, folder)
    if entry.local_path:
        _check_conversation(folder)
    _check_complete(folder)
    about = partial(make_manifest, folder, model=model, precision=precision, source=source)
    if any(folder.glob("*.safetensors")):
        write_manifest(folder, about())
    elif any(folder.rglob("*.gguf")):
        write_manifest(folder, about(types={}, quantised=entry.quantised or "as the GGUF file says"))
    else:
        raise DataError("there are no weights: neither safetensors nor GGUF", where=str(folder))


def _serve(model: str, precision: str, entry: Precision, folder: Path) -> None:
    """The manifest of weights that only their server has: the tokenizer it is asked with, or nothing (text mode)."""
    for old in folder.iterdir():
        if old.is_file():
            old.unlink()
    path = entry.tokenizer_path
    if path is not None:
        if not (Path(path) / "tokenizer.json").is_file():
            raise ConfigError(
                "there is no tokenizer.json", where=f"tokenizer={path}", remedy="name a folder that has one"
            )
        for name in TOKENIZER:
            if (Path(path) / name).is_file():
                shutil.copyfile(Path(path) / name, folder / name)
        check_chat_form(folder)
    quantised = entry.quantised or "unknown"
    source = WeightsSource(served=True, mode="text" if path is None else "tokens")
    write_manifest(
        folder,
        make_manifest(folder, model=model, precision=precision, quantised=quantised, types={}, source=source),
    )


def _link(source: Path, folder: Path) -> WeightsSource:
    """Links to the files of a folder of the owner's; nothing is copied, and his path goes into no record."""
    if not source.is_dir():
        raise ConfigError(
            "there is no such folder", where=str(source), remedy="correct local_path in config/models.yaml"
        )
    wanted = [
        path
        for path in source.iterdir()
        if path.is_file() and _is_wanted(path.name, (*WEIGHTS, "*.gguf", *BESIDE))
    ]
    for old in folder.iterdir():
        if old.is_symlink():
            old.unlink()
    for path in wanted:
        (folder / path.name).symlink_to(path.resolve())
    return WeightsSource(local_path=True)


def _pull(entry: Precision, folder: Path) -> WeightsSource:
    assert entry.repository is not None
    revision = _pull_files(entry.repository, entry.revision, BESIDE, folder)
    beside = entry.tokenizer
    if beside is not None:
        found = _pull_files(beside.repository, beside.revision, [*TOKENIZER, CONFIG], folder)
        beside = TokenizerSource(repository=beside.repository, revision=found)
    _check_conversation(folder)  # before the weights, which can take days
    _pull_files(entry.repository, revision, entry.files or WEIGHTS, folder)
    return WeightsSource(
        repository=entry.repository,
        revision=revision,
        revision_resolved_at_pull=True if entry.revision is None else None,
        tokenizer=beside,
    )


def _pull_files(repository: str, revision: str | None, patterns: Sequence[str], folder: Path) -> str:
    """Pull a repository's files that are wanted, verify them against the hub's hashes; the revision that was pulled."""
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    where = repository if revision is None else f"{repository}@{revision[:12]}"
    again = "give the same command again: what is there is not pulled twice"
    try:
        info = HfApi().model_info(repository, revision=revision, files_metadata=True)
        files = [each for each in info.siblings or [] if _is_wanted(each.rfilename, patterns)]
        total = sum(each.size or 0 for each in files)
        free = shutil.disk_usage(folder).free + sum(
            path.stat().st_size for path in folder.rglob("*") if path.is_file()
        )
        if total > free:
            raise DataError(
                f"its files take {total / 1e9:,.1f} GB and {free / 1e9:,.1f} GB are free",
                where=where,
                remedy="make room",
            )
        print(f"pulling {where}: {len(files)} files, {total / 1e9:,.2f} GB", file=sys.stderr, flush=True)
        snapshot_download(
            repository,
            revision=info.sha,
            local_dir=folder,
            allow_patterns=[each.rfilename for each in files],
            max_workers=4,
        )
    except GatedRepoError as error:
        raise DataError(
            "the repository is gated: its owner wants its terms accepted",
            where=where,
            remedy=f"accept them at https://huggingface.co/{repository} and set HF_TOKEN to a token of yours",
        ) from error
    except RevisionNotFoundError as error:
        raise DataError(
            "the repository has no such revision any more",
            where=where,
            remedy="set `revision: null` in config/models.yaml to pull its head, and record that",
        ) from error
    except RepositoryNotFoundError as error:
        raise DataError(
            "the hub has no such repository (any more), or it is private",
            where=where,
            remedy="correct it in config/models.yaml, give a local_path, or set HF_TOKEN where it is private",
        ) from error
    except DataError:
        raise
    except Exception as error:  # its HTTP client has errors of its own, which are no OSError
        known = (HfHubHTTPError, LocalEntryNotFoundError, OSError)
        if not isinstance(error, known) and not type(error).__module__.startswith(("http", "hf_")):
            raise
        raise DataError(
            f"the pull broke off: {' '.join(str(error).split())[:300]}", where=where, remedy=again
        ) from error
    for each in files:
        expected = getattr(each.lfs, "sha256", None) if each.lfs else None
        if expected and cached_sha256(folder, each.rfilename) != expected:
            (folder / each.rfilename).unlink()
            raise DataError(
                "the file is not the one that the hub names", where=f"{where}: {each.rfilename}", remedy=again
            )
    return str(info.sha)


def _is_wanted(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatch(name, pattern) for pattern in patterns) and not any(
        fnmatch.fnmatch(name, pattern) for pattern in NEVER
    )


def _check_conversation(folder: Path) -> None:
    """What a conversation needs is there, and the chat template can be rendered."""
    for name in ("tokenizer.json", "tokenizer_config.json"):
        if not (folder / name).is_file():
            raise DataError(
                f"there is no {name}", where=str(folder), remedy="name a `tokenizer` in config/models.yaml"
            )
    check_chat_form(folder)


def _check_complete(folder: Path) -> None:
    """Every shard that the index names is there."""
    index = folder / "model.safetensors.index.json"
    shards = set(read_json(index)["weight_map"].values()) if index.is_file() else set()
    missing = sorted(shard for shard in shards if not (folder / shard).is_file())
    if missing:
        raise DataError(
            f"{len(missing)} of {len(shards)} shards are missing, {missing[0]} first", where=str(folder)
        )

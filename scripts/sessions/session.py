"""A session from start to end: check, start the engine, play, stop it, and only then name the folder."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scripts.common.files import read_json, sha256_file, write_json
from scripts.engines.start import start_engine
from scripts.provenance.code import describe_code
from scripts.provenance.machine import describe_machine
from scripts.quants.manifest import verify_manifest
from scripts.sessions.play import disk_error, play_replays
from scripts.sessions.progress import Progress
from scripts.sessions.watch import WorkflowWatch
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload
from scripts.workload.text_form import TextForm


def run_session(
    output: Path,
    *,
    session: int,
    replays: int,
    workload_file: Path,
    manifest_file: Path,
    engine_record: Path,
    settings: Mapping[str, Any],
    log: Path,
) -> None:
    """Run session number `session` of a cell and write its folder, `output` (session.json) last.

    The folder is written aside and renamed when it is whole; on any failure nothing of it is left.
    """
    folder = output.parent
    aside = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(aside, ignore_errors=True)
    workload = load_workload(workload_file)
    verify_manifest(manifest_file)
    record = read_json(engine_record)
    aside.mkdir(parents=True)
    watch = WorkflowWatch(aside)
    watch.start()
    started = _now()
    try:
        os.environ.update(settings["environment"])
        chat = _chat_form(settings, manifest_file.parent)
        title = f"{settings['model']} {settings['precision']} {settings['variant']} · session {session}"
        with start_engine({**settings, "record": record}, manifest_file.parent, log) as engine:
            played = play_replays(engine, chat, workload, settings, aside, replays, Progress(title, replays))
            described = engine.describe()
        write_json(
            aside / output.name,
            {
                **{key: settings[key] for key in ("model", "architecture", "precision", "engine", "variant")},
                "session": session,
                **played,
                "questions": workload.questions,
                "workload": {"name": workload.name, "sha256": workload.sha256},
                "weights": {"manifest_sha256": sha256_file(manifest_file)},
                "engine_record": record,
                "resolved": described,
                "settings": dict(settings),
                "argv": [_relative(part) for part in sys.orig_argv],
                "environment": _environment(settings),
                "machine": describe_machine(),
                "code": describe_code(Path()),
                "started": started,
                "ended": _now(),
            },
        )
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
    except BaseException as error:
        shutil.rmtree(aside, ignore_errors=True)
        if isinstance(error, OSError):
            full = disk_error(error, folder)
            if full is not None:
                raise full from error
        raise


def _chat_form(settings: Mapping[str, Any], folder: Path) -> ChatForm | TextForm:
    """The chat form of the quant's own tokenizer; text, for an endpoint whose tokenizer is not named."""
    if settings["runtime"] == "external" and not (folder / "tokenizer.json").is_file():
        return TextForm()
    return ChatForm(folder)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _relative(argument: str) -> str:
    """An argument without the folder that the project happens to lie in."""
    return argument.replace(f"{Path.cwd()}{os.sep}", "")


def _environment(settings: Mapping[str, Any]) -> dict[str, str]:
    """The variables that an engine may heed: those the cell sets, and what was there of threads, GPUs and libraries."""
    prefixes = (
        "OMP_",
        "GGML_",
        "LLAMA_",
        "CUDA_",
        "NCCL_",
        "VLLM_",
        "SGLANG_",
        "OPENBLAS_",
        "MKL_",
        "NVIDIA_",
    )
    secret = ("KEY", "TOKEN", "SECRET", "PASSWORD")
    found = {key: value for key, value in os.environ.items() if key.startswith(prefixes)}
    found |= settings["environment"]
    return {
        key: value for key, value in sorted(found.items()) if not any(word in key.upper() for word in secret)
    }

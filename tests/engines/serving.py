"""What the tests of servers share: weights to serve, a prompt, a copy of the project to run the workflow in."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import psutil
import yaml

from scripts.provenance.environments import create_environment, env_python
from scripts.records.base import convert
from scripts.records.engines import EngineEntry, Engines
from scripts.records.settings import EngineKind, HarnessSettings, Settings
from scripts.workload.chat import ChatForm
from scripts.workload.episode import TOOL_SCHEMAS, first_messages
from scripts.workload.spec import load_workload
from tests.patience import HANGS

ROOT = Path(__file__).parents[2]
COPIED = ("Snakefile", "config", "containers", "envs", "resources", "rules", "scripts")
CHAT_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja")


def environment_python(name: str) -> str:
    """The Python of the environment of envs/{name}.lock, built where it is missing."""
    lock = ROOT / "envs" / f"{name}.lock"
    create_environment(lock)
    return str(env_python(lock))


def engine_entry(engine: str) -> EngineEntry:
    """The entry of config/engines.yaml."""
    path = ROOT / "config/engines.yaml"
    return convert(Engines, yaml.safe_load(path.read_text()), str(path)).engines[engine]


def engine_settings(engine: str, **changes: Any) -> Settings:
    """A cell's settings for an engine of config/engines.yaml, but for `changes`."""
    entry = engine_entry(engine)
    found = kind_settings(
        entry.kind,
        engine=engine,
        runtime=entry.runtime,
        arguments=entry.arguments,
        environment=entry.environment,
        container=entry.container,
    )
    return msgspec.structs.replace(found, **changes)


def kind_settings(kind: EngineKind, **changes: Any) -> Settings:
    """A cell's settings for a kind of engine, but for `changes`."""
    found = Settings(
        model="tinychart-dense",
        architecture="dense",
        precision="bf16",
        engine=kind,
        variant="base",
        kind=kind,
        runtime="process",
        arguments={},
        environment={},
        harness=HarnessSettings(),
        top_logprobs=5,
        start_seconds=600,
    )
    return msgspec.structs.replace(found, **changes)


def marked_settings(settings: Settings, marker: str, **changes: Any) -> Settings:
    """The settings with the marker in the engine's environment, by which `marked` finds its processes."""
    environment = {**settings.environment, "TEMPZERO_TEST": marker}
    return msgspec.structs.replace(settings, environment=environment, **changes)


def checkpoint(architecture: str, folder: Path) -> Path:
    """The tinychart checkpoint, `dense` or `moe`, with its tokenizer beside it."""
    source = ROOT / "resources" / "tinychart"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.safetensors", "config.json"):
        shutil.copyfile(source / architecture / name, folder / name)
    for name in CHAT_FILES:
        shutil.copyfile(source / name, folder / name)
    return folder


def gguf_quant(architecture: str, folder: Path, precision: str = "q6_k") -> Path:
    """The quant as the workflow builds it, in `folder`."""
    entries = {
        "bf16": {"recipe": "gguf-bf16", "source": f"resources/tinychart/{architecture}"},
        "q6_k": {"recipe": "llama-quantize", "from": "bf16", "type": "Q6_K"},
    }
    for name, entry in entries.items():
        build = [
            environment_python("llamacpp"),
            "-m",
            "scripts.build_weights",
            f"tinychart-{architecture}",
            name,
        ]
        build += ["--entry", json.dumps(entry), "--output", str(folder / name / "manifest.json")]
        subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return folder / precision


def first_prompt(weights: Path) -> tuple[list[int], int]:
    """The first prompt of the small workload, and the stop id."""
    chat = ChatForm(weights)
    workload = load_workload(ROOT / "config" / "workloads" / "chartist-mini.yaml")
    return chat.first_prompt(first_messages(workload, workload.scenarios[0]), TOOL_SCHEMAS), chat.stop_ids[0]


def copy_project(folder: Path) -> Path:
    """A copy of the project whose environments are this one's."""
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copyfile(source, folder / name)
    (ROOT / ".envs").mkdir(exist_ok=True)
    (folder / ".envs").symlink_to(ROOT / ".envs")
    return folder


def write_grid(project: Path, cells: list[tuple[str, str, str]], *, sessions: int, replays: int) -> None:
    """config/grids/small.yaml over (model, precision, engine); an engine may be followed by `/` and another variant."""
    rows = ""
    for model, precision, engine in cells:
        name, _, variant = engine.partition("/")
        rows += f"  - {{models: [{model}], precisions: [{precision}], engines: [{name}], variants: [{variant or 'base'}]}}\n"
    (project / "config/grids/small.yaml").write_text(
        f"description: a test\nworkload: chartist-mini\nsessions: {sessions}\nreplays: {replays}\nforced: 1\n"
        "estimate: {tokens_per_replay: 2000, tokens_per_second: 60, start_seconds: 60}\n"
        f"blocks:\n{rows}"
    )


def snakemake(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow of a copied project on its small grid."""
    command = snakemake_command(*arguments)
    return subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=2 * HANGS)


def snakemake_command(*arguments: str) -> list[str]:
    """`snakemake` on the small grid."""
    return [sys.executable, "-m", "snakemake", "--cores", "1", "--config", "grid=small", "--", *arguments]


def marked(marker: str) -> list[psutil.Process]:
    """Processes whose environment holds the marker: those a test started, and all that they started."""
    found = []
    for process in psutil.process_iter():
        try:
            if (
                process.pid != os.getpid()
                and marker in process.environ().values()
                and process.status() != "zombie"
            ):
                found.append(process)
        except psutil.Error:
            continue
    return found

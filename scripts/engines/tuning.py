"""The caches of a server: tuning results in a folder of each session's own, and what was found there at its end.

What a start of an engine tunes by time need not be what the next one tunes, and can change bits; what it compiles is
the same each time. So choices are empty at each start unless a variant keeps them, and kernels stay where they are:

- Triton's choices are parted from its kernels by triton_choices.py;
- torch.compile's cannot be told from what it compiled: both are empty, but for what a process compiles for a CPU beside
  vLLM's own graphs, which nothing times and which takes 20 s;
- FlashInfer's choices lie in vLLM's own cache, its kernels in a workspace of their own;
- DeepGEMM's kernels are chosen by rules, not by time, and stay.
"""

from __future__ import annotations

import getpass
import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from scripts.records.base import Value
from scripts.records.settings import Settings
from scripts.records.tuning import CacheState, Tuned, Tuning

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / ".tuning"
"""Where tuning results of processes are kept, a folder an engine."""
SUFFIX = ".autotune.json"
ENGINE_CACHE = {"vllm": "VLLM_CACHE_ROOT", "sglang": "SGLANG_CACHE_DIR"}
"""The variable that names an engine's own cache, by its kind; an engine of another kind tunes nothing."""
FLASHINFER_FILE = re.compile(r"FlashInfer autotune cache file: (\S+)")  # vLLM's log, of rank 0
_OPERATION = re.compile(r"\('([^']+)'")


@dataclass(frozen=True)
class CacheFolders:
    """Where a server keeps its caches, as it sees them. `tuning`: choices. `chosen`: what it went by this time.

    `compiled`: where torch.compile does by itself; None where that is to be among the choices.
    """

    kind: str
    tuning: str
    chosen: str
    compiled: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """The variables that tell it so; none for an engine that tunes nothing."""
        if self.kind not in ENGINE_CACHE:
            return {}
        return {
            "TRITON_CACHE_MANAGER": "scripts.engines.triton_choices:ChoicesApart",
            "TEMPZERO_TRITON_CHOICES": f"{self.tuning}/triton",
            "TEMPZERO_CHOSEN": self.chosen,
            "TORCHINDUCTOR_CACHE_DIR": self.compiled or f"{self.tuning}/inductor",
            ENGINE_CACHE[self.kind]: f"{self.tuning}/{self.kind}",
        }

    def folders(self, environment: Mapping[str, str]) -> dict[str, list[str]]:
        """Cache → its folders, of a server with these variables; paths that are not absolute are below its home."""
        if self.kind not in ENGINE_CACHE:
            return {}
        own = environment[ENGINE_CACHE[self.kind]]
        return {
            "triton": [environment["TEMPZERO_TRITON_CHOICES"]],
            "triton_kernels": [environment.get("TRITON_CACHE_DIR") or ".triton/cache"],
            "torch_compile": [f"{own}/torch_compile_cache", environment["TORCHINDUCTOR_CACHE_DIR"]],
            "flashinfer": [f"{own}/flashinfer_autotune_cache"],
            "flashinfer_kernels": [
                f"{environment.get('FLASHINFER_WORKSPACE_BASE') or '.'}/.cache/flashinfer"
            ],
        }


@dataclass(frozen=True)
class ProcessCaches:
    """The caches of a server that is a process. `environment`: all its variables. `before`: which held files."""

    where: CacheFolders
    environment: Mapping[str, str]
    before: Mapping[str, bool]

    def look(self, log: str) -> Tuning | None:
        """What is in them by now, `log` being all that the server wrote; None for an engine that tunes nothing."""
        if not self.before:
            return None
        tuned = read_chosen(Path(self.where.chosen))
        if (found := FLASHINFER_FILE.search(log)) and Path(found[1]).is_file():
            tuned += read_flashinfer(Path(found[1]).read_text("utf-8"))
        return Tuning(caches=cache_states(self.before, _filled(self.where, self.environment)), tuned=tuned)


@contextmanager
def process_caches(settings: Settings, environment: Mapping[str, str]) -> Iterator[ProcessCaches]:
    """The caches of a process that is to have these variables, its choices empty; all is gone when it is left.

    With `warm_tuning` choices are those of the engine's last such session, and stay.
    """
    with tempfile.TemporaryDirectory(prefix="tempzero-", ignore_cleanup_errors=True) as folder:
        tuning = KEPT / settings.engine if settings.warm_tuning else Path(folder, "tuning")
        compiled = None if settings.gpus else _inductor_cache(environment)
        where = CacheFolders(settings.kind, str(tuning), str(Path(folder, "chosen")), compiled)
        whole = {**environment, **where.environment, **settings.environment}
        if settings.kind == "vllm":
            _keep_model_facts(Path(whole["VLLM_CACHE_ROOT"]), environment)
        yield ProcessCaches(where, whole, _filled(where, whole))


def _inductor_cache(environment: Mapping[str, str]) -> str:
    """Where torch.compile keeps what it compiled unless it is told otherwise."""
    name = f"torchinductor_{getpass.getuser()}"
    return environment.get("TORCHINDUCTOR_CACHE_DIR") or str(Path(tempfile.gettempdir(), name))


def _keep_model_facts(cache: Path, environment: Mapping[str, str]) -> None:
    """What vLLM found out of a model's class, by the hash of its code, stays where it is: each would cost 10 s."""
    base = environment.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    kept = Path(environment.get("VLLM_CACHE_ROOT") or Path(base, "vllm")) / "modelinfos"
    link = cache / "modelinfos"
    if not link.exists():
        kept.mkdir(parents=True, exist_ok=True)
        cache.mkdir(parents=True, exist_ok=True)
        link.symlink_to(kept, target_is_directory=True)


def _filled(where: CacheFolders, environment: Mapping[str, str]) -> dict[str, bool]:
    """Cache → whether it holds a file."""
    return {
        name: any(files for each in folders for _, _, files in os.walk(Path.home() / each))
        for name, folders in where.folders(environment).items()
    }


def cache_states(before: Mapping[str, bool], now: Mapping[str, bool]) -> dict[str, CacheState]:
    """Cache → with what the server began; `before`, `now`: whether it held a file."""

    def state(name: str) -> CacheState:
        return "kept" if before[name] else "empty" if now[name] else "not used"

    return {name: state(name) for name in sorted(before)}


def read_chosen(folder: Path) -> list[Tuned]:
    """What Triton chose, from the copies of its files that each rank made: rank-R/HASH.KERNEL.autotune.json.

    In such a file the key is what was tuned for, and each configuration stands beside its seconds, of which Triton
    takes the least and of equal ones the first. Ranks that chose alike are one entry.
    """
    found: dict[tuple[str, str, str], list[int]] = {}
    for path in sorted(folder.glob(f"rank-*/*{SUFFIX}")):
        kernel = path.name.removesuffix(SUFFIX).partition(".")[2]
        key, config = _best(path.read_text("utf-8"))
        ranks = found.setdefault((kernel, key, json.dumps(config, sort_keys=True)), [])
        ranks.append(int(path.parent.name.removeprefix("rank-")))
    return [
        Tuned(by="triton", kernel=kernel, key=key, config=json.loads(config), ranks=sorted({*ranks}))
        for (kernel, key, config), ranks in sorted(found.items())
    ]


def _best(text: str) -> tuple[str, dict[str, Value]]:
    """The key and the configuration of one of Triton's files; an empty one where its form is not known."""
    try:
        content = json.loads(text)
        config, _ = min(content["configs_timings"], key=lambda each: each[1])
        sizes = {**config.pop("kwargs"), **config}
        return json.dumps(content["key"]), {name: value for name, value in sizes.items() if value is not None}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "", {}


def read_flashinfer(text: str) -> list[Tuned]:
    """What FlashInfer chose, from its autotune_configs.json: for each operation and size a runner and its tactic.

    vLLM lets rank 0 tune and hands the file to all others.
    """
    try:
        content = {key: value for key, value in json.loads(text).items() if key != "_metadata"}
        return [
            Tuned(
                by="flashinfer",
                kernel=found[1] if (found := _OPERATION.match(key)) else key,
                key=key,
                config={"runner": runner, "tactic": tactic},
                ranks=[],
            )
            for key, (runner, tactic) in sorted(content.items())
        ]
    except (ValueError, TypeError, AttributeError):
        return [Tuned(by="flashinfer", kernel="", key="", config={}, ranks=[])]

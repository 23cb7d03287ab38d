"""What each kind of server is started with: its command, its environment, its flags, the client that drives it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import ConfigError, nearest
from scripts.engines.http import Server
from scripts.engines.llamacpp_server import LlamaCppServer
from scripts.engines.sglang_server import SglangServer
from scripts.engines.vllm_server import VllmServer
from scripts.records.settings import Arguments

MODEL = "tempzero"  # the name under which every server serves
Client = VllmServer | SglangServer | LlamaCppServer


@dataclass(frozen=True)
class ServerKind:
    """One kind of server.

    `program`: what starts it, before its flags; `{python}` stands for the Python of a locked environment.
    `weights_flag`, `weights_file`: how the weights are named, and which file of the quant's folder (none: the folder).
    `fixed`: flags that every start has. `off`: what a flag that is false is prefixed with; None leaves it out.
    `key_variable`: the environment variable with the API key; `key_flag` where there is only a flag.
    `health`: the path that answers 200 once requests are served. `client`: drives it.
    """

    program: tuple[str, ...]
    weights_flag: str
    weights_file: str
    fixed: tuple[str, ...]
    off: str | None
    key_variable: str | None
    key_flag: str | None
    health: str
    environment: Mapping[str, str]
    client: Callable[[Server, Arguments, str], Client]


SERVER_KINDS: dict[str, ServerKind] = {
    "vllm": ServerKind(
        program=("{python}", "-m", "vllm.entrypoints.openai.api_server"),
        weights_flag="--model",
        weights_file="",
        fixed=("--served-model-name", MODEL),
        off="--no-",
        key_variable="VLLM_API_KEY",
        key_flag=None,
        health="/health",
        # The development mode has the route that resets the prefix cache.
        environment={"VLLM_SERVER_DEV_MODE": "1", "HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1"},
        client=VllmServer,
    ),
    "sglang": ServerKind(
        program=("{python}", "-m", "scripts.engines.sglang_serve"),
        weights_flag="--model-path",
        weights_file="",
        fixed=("--served-model-name", MODEL),
        off=None,
        key_variable=None,
        key_flag="--api-key",
        health="/health_generate",
        environment={"HF_HUB_OFFLINE": "1"},
        client=SglangServer,
    ),
    "llamacpp": ServerKind(
        program=("llama-server",),
        weights_flag="--model",
        weights_file="model.gguf",
        fixed=("--alias", MODEL),
        off="--no-",
        key_variable="LLAMA_API_KEY",
        key_flag=None,
        health="/health",
        environment={},
        client=LlamaCppServer,
    ),
}


def server_kind(kind: str) -> ServerKind:
    """The entry of a kind; ConfigError for an unknown one."""
    if kind not in SERVER_KINDS:
        raise ConfigError(
            f"no server is started for the kind {kind!r}",
            where="config/engines.yaml",
            remedy=nearest(kind, SERVER_KINDS),
        )
    return SERVER_KINDS[kind]


def flags(kind: ServerKind, arguments: Arguments) -> list[str]:
    """Command-line flags of `arguments`, in the order given.

    `max_num_seqs: 1` is `--max-num-seqs 1`; true is the flag alone; false is `--no-…` where the kind has that, else
    nothing; null is nothing; a mapping is JSON; a list is the values one after the other.
    """
    found: list[str] = []
    for key, value in arguments.items():
        name = key.replace("_", "-")
        if value is None or (value is False and kind.off is None):
            continue
        if value is True:
            found.append(f"--{name}")
        elif value is False:
            found.append(f"{kind.off}{name}")
        elif isinstance(value, dict):
            found += [f"--{name}", json.dumps(value, separators=(",", ":"))]
        elif isinstance(value, list):
            found += [f"--{name}", *map(str, value)]
        else:
            found += [f"--{name}", str(value)]
    return found


def weights_argument(kind: ServerKind, folder: Path) -> str:
    """What of the quant's folder is named to the server, from the folder: nothing, or its first GGUF file.

    ConfigError where the kind wants a GGUF file and there is none.
    """
    if not kind.weights_file or (folder / kind.weights_file).is_file():
        return kind.weights_file
    found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.gguf"))
    if not found:
        raise ConfigError(
            "the quant has no GGUF file", where=str(folder), remedy="serve it with another engine"
        )
    return found[0]


def command(
    kind: ServerKind,
    arguments: Arguments,
    weights: str,
    *,
    host: str,
    port: int,
    python: str,
    key: str,
) -> list[str]:
    """The whole command. `weights`: the quant's folder, or its file, as the server sees it."""
    return [
        *(part.format(python=python) for part in kind.program),
        kind.weights_flag,
        weights,
        "--host",
        host,
        "--port",
        str(port),
        *kind.fixed,
        *forcing(kind, arguments),
        *([kind.key_flag, key] if kind.key_flag else []),
        *flags(kind, arguments),
    ]


def forcing(kind: ServerKind, arguments: Arguments) -> list[str]:
    """What lets vLLM decode given ids; with speculative decoding it would refuse to start with it."""
    if kind.client is not VllmServer or arguments.get("speculative_config"):
        return []
    return ["--logits-processors", "scripts.engines.vllm_force:Force"]

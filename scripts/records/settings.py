"""Everything that makes a cell what it is, as a session gets it, and the typed arguments of engines in process."""

from __future__ import annotations

from typing import Literal

from scripts.records.base import Record, Value

Architecture = Literal["dense", "moe", "unknown"]
EngineKind = Literal["llama-cpp-python", "vllm", "sglang", "llamacpp", "openai", "transformers"]
Runtime = Literal["process", "docker", "external"]
Listing = Literal["names", "ls"]
PrefixCache = Literal["emptied", "kept"]
Arguments = dict[str, Value]  # by the engine's own names, as its owner writes them in engines.yaml

CONTEXT_KEYS = ("n_ctx", "max_model_len", "context_length", "ctx_size")  # as the engines name it
DEFAULT_CONTEXT = 32_768


class ContainerSettings(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How an engine's container is run."""

    entrypoint: list[str] | None = None
    """What starts the server in the image; missing where the kind's own program does."""
    shm_gb: float | None = None
    """Shared memory, 10^9 bytes; missing is Docker's default."""
    ipc: Literal["host", "private"] | None = None
    """The IPC namespace; missing is Docker's default."""
    cache: str | None = None
    """The folder inside where compiled kernels are kept, in a named volume."""
    tuning: str | None = None
    """The folder inside with tuning results, empty in every session unless the variant keeps them."""


class Sampling(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How a generated id is drawn; greedy where nothing is said."""

    temperature: float = 0.0
    """What logits are divided by before one is drawn; 0 takes the most likely."""
    top_p: float | None = None
    """Only the most likely ids whose probabilities reach this sum are drawn from; null is all of them."""
    seed: int | None = None
    """What the draw begins from, in every request anew; null leaves it to the engine."""

    @property
    def greedy(self) -> bool:
        """Whether the most likely id is taken."""
        return self.temperature == 0

    def body(self) -> dict[str, Value]:
        """The fields of a request by the names that servers share; what is not set is not sent."""
        found = {"top_p": self.top_p, "seed": self.seed}
        return {
            "temperature": self.temperature,
            **{key: value for key, value in found.items() if value is not None},
        }


GREEDY = Sampling()


COLD = "cold_cache"
"""The argument of a server that runs already whose caches are emptied between episodes all the same."""


class HarnessSettings(Record, frozen=True, kw_only=True):
    """What the harness does."""

    list_files: Listing = "names"
    """What the tool list_files shows: names and sizes, or times and all as `ls` does."""
    concurrency: int = 1
    """How many requests are in flight at once, of which the replay is one."""
    prefix_cache: PrefixCache = "emptied"
    """What is done with what the engine has read: `emptied` before each episode; `kept`: all replays of a scenario are
    played one after the other and it is emptied before the first, so that the first answer is cold, the others warm."""


class Settings(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A cell's settings, resolved: what `run_session --settings` takes and session.json keeps."""

    model: str
    """The model's name."""
    architecture: Architecture
    """dense, moe, or unknown (a deployment of somebody else's)."""
    precision: str
    """The precision's name."""
    engine: str
    """The engine's name."""
    variant: str
    """The variant's name."""
    kind: EngineKind
    """Which engine it is."""
    runtime: Runtime
    """How it is started."""
    arguments: Arguments
    """The engine's arguments, the variant's laid over."""
    environment: dict[str, str]
    """Environment variables of the engine, the variant's laid over."""
    harness: HarnessSettings
    """What the harness does."""
    top_logprobs: int
    """How many candidates a position are recorded."""
    gpus: int = 0
    """How many GPUs the engine takes."""
    nodes: int = 1
    """Over how many machines these are spread."""
    port: int | None = None
    """The port of 127.0.0.1 that its server listens on; missing is a free one."""
    start_seconds: float | None = None
    """How long it may take until it is ready; missing is the runtime's default."""
    container: ContainerSettings | None = None
    """How its container is run, of an engine with one."""
    asked: Arguments = {}
    """Of the arguments and variables those that the variant sets; empty in older files."""
    warm_tuning: bool = False
    """Whether a server's tuning results are kept from session to session."""
    endpoint: str | None = None
    """Where a server that runs already listens: http://HOST:PORT/v1."""

    @property
    def as_it_is(self) -> bool:
        """Whether it is a server that runs already, of which nothing is reset."""
        return self.runtime == "external" and not self.arguments.get(COLD)

    @property
    def context(self) -> int:
        """How many ids prompt and generation may have together; slots of a llama.cpp server share its context."""
        found = next(
            (self.arguments[key] for key in CONTEXT_KEYS if self.arguments.get(key)), DEFAULT_CONTEXT
        )
        assert isinstance(found, int)
        return found // (self.parallel if self.kind == "llamacpp" else 1)

    @property
    def spans_nodes(self) -> bool:
        """Whether an engine's ranks are started here on several machines."""
        return self.nodes > 1 and self.arguments.get("distributed_executor_backend") != "ray"

    @property
    def parallel(self) -> int:
        """The slots of a llama.cpp server."""
        found = self.arguments.get("parallel", 1)
        assert isinstance(found, int)
        return found


class LlamaCppArguments(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of llama.cpp in process."""

    n_threads: int = 1
    """Threads that decode."""
    n_threads_batch: int = 1
    """Threads that evaluate a prompt."""
    n_batch: int = 512
    """Tokens of a prompt in one call."""
    n_ubatch: int = 512
    """Tokens of a prompt in one computation."""
    n_ubatch_choices: list[int] = []
    """Each start takes one of these for n_ubatch, by the operating system's entropy; none where it is empty."""
    n_ctx: int = 4096
    """Tokens of context."""
    n_gpu_layers: int = 0
    """Layers that a GPU computes."""
    flash_attn: bool = False
    """Flash attention."""
    keep_cache: bool = False
    """Keep the cache of the episode before."""
    jitter: float = 0.0
    """Bound of the noise added to each logit, nat."""
    routed_experts: bool = False
    """Read off which experts each token goes through."""


class TransformersArguments(Record, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The arguments of transformers in process."""

    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"
    """What weights, activations and the cache are held in."""
    attn_implementation: Literal["sdpa", "eager"] = "sdpa"
    """Who computes attention: torch's fused kernel, or the model's own products."""
    threads: int = 1
    """Threads of torch."""
    batch: int = 512
    """Tokens of a prompt in one forward pass."""
    context_length: int = 4096
    """Tokens of context."""

"""Playing a cell's workload in one session and writing it down: whole in the end, or not at all."""

from __future__ import annotations

import errno
import random
import shutil
import tempfile
import time
from collections.abc import Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.errors import ConfigError, DataError
from scripts.common.files import canonical_json, sha256_file
from scripts.common.protocol import Engine
from scripts.common.transcripts import turn_line
from scripts.sessions.load import Load, Requests
from scripts.sessions.progress import Progress
from scripts.workload.chat import ChatForm
from scripts.workload.episode import TOOL_SCHEMAS, first_messages, play_episode
from scripts.workload.text_form import TextForm
from scripts.workload.workloads import Workload

WARM_UP_TOKENS = 16
CONTEXT_KEYS = ("n_ctx", "max_model_len", "context_length", "ctx_size")  # as the engines name it
DEFAULT_CONTEXT = 32_768


@dataclass(frozen=True)
class Played:
    """What one replay came to: its files' names and hashes, tokens generated, seconds in the engine."""

    files: dict[str, Any]
    tokens: int
    seconds: float


def warm_up(engine: Engine, chat: ChatForm | TextForm, workload: Workload) -> None:
    """Throw away a first short answer: what follows a start can differ from all later ones."""
    prompt = chat.first_prompt(first_messages(workload, workload.scenarios[0]), TOOL_SCHEMAS)
    engine.generate(prompt, max_tokens=WARM_UP_TOKENS, stop_ids=[chat.stop_id], top_logprobs=1)
    engine.reset()


def play_replay(
    number: int,
    engine: Engine,
    chat: ChatForm | TextForm,
    workload: Workload,
    settings: Mapping[str, Any],
    folder: Path,
    progress: Progress,
    *,
    context: int,
    load: Load,
) -> Played:
    """Play the whole workload once, beside `load`, and write the replay's three files into `folder`."""
    name = f"replay-{number:02d}"
    paths = {kind: folder / f"{name}.{kind}.jsonl" for kind in ("transcript", "logprobs", "timing")}
    tokens, seconds, has_logprobs = 0, 0.0, False
    with ExitStack() as stack:
        streams = {
            kind: stack.enter_context(open(path, "w", encoding="utf-8")) for kind, path in paths.items()
        }
        for scenario in workload.scenarios:
            load.reset()
            workspace = folder / "workspace"
            workspace.mkdir()
            for played in play_episode(
                engine,
                chat,
                workload,
                scenario,
                folder=workspace,
                listing=settings["harness"]["list_files"],
                top_logprobs=settings["top_logprobs"],
                context=context,
            ):
                streams["transcript"].write(turn_line(played.turn))
                if played.logprobs is not None:
                    has_logprobs = True
                    streams["logprobs"].write(turn_line(played.logprobs))
                load.look()
                made = len(played.turn.output_ids)
                timing = {
                    "scenario": scenario.name,
                    "turn": played.turn.turn,
                    "tokens": made,
                    "seconds": round(played.seconds, 6),
                }
                streams["timing"].write(canonical_json(timing) + "\n")
                tokens, seconds = tokens + made, seconds + played.seconds
                asked = f"{played.question}/{len(scenario.questions)}"
                progress.turn(number, scenario.name, asked, made, played.seconds)
            shutil.rmtree(workspace)
    if not has_logprobs:
        paths.pop("logprobs").unlink()
    files: dict[str, Any] = {"replay": number}
    for kind in ("transcript", "logprobs"):
        if kind in paths:
            files[kind] = {"path": paths[kind].name, "sha256": sha256_file(paths[kind])}
    return Played(files, tokens, seconds)


def play_replays(
    engine: Engine,
    chat: ChatForm | TextForm,
    workload: Workload,
    settings: Mapping[str, Any],
    folder: Path,
    replays: int,
    progress: Progress,
) -> dict[str, Any]:
    """Warm up, play `replays` replays into `folder`, and return what session.json says of them."""
    context = context_of(settings, workload)
    warm_up(engine, chat, workload)
    begun = time.time()
    with Load(engine, settings, background(chat, workload, settings, context)) as load:
        played = [
            play_replay(
                number, engine, chat, workload, settings, folder, progress, context=context, load=load
            )
            for number in range(replays)
        ]
    progress.done()
    return {
        "load": load.describe(),
        "replays": replays,
        "files": [each.files for each in played],
        "tokens": sum(each.tokens for each in played),
        "seconds": sum(each.seconds for each in played),
        "replay_tokens": [each.tokens for each in played],
        "replay_seconds": [each.seconds for each in played],
        "wall_seconds": time.time() - begun,
    }


def background(
    chat: ChatForm | TextForm, workload: Workload, settings: Mapping[str, Any], context: int
) -> Requests:
    """The requests of a background stream: episodes of the workload in an order that nobody chose."""

    def requests(engine: Engine, number: int) -> Generator[int, None, None]:
        order = random.Random()
        while True:
            with tempfile.TemporaryDirectory(prefix="tempzero-") as workspace:
                for played in play_episode(
                    engine,
                    chat,
                    workload,
                    order.choice(workload.scenarios),
                    folder=Path(workspace),
                    listing=settings["harness"]["list_files"],
                    top_logprobs=settings["top_logprobs"],
                    context=context,
                ):
                    yield len(played.turn.output_ids)

    return requests


def context_of(settings: Mapping[str, Any], workload: Workload) -> int:
    """How many ids prompt and generation may have together in this engine; ConfigError where a turn has no room."""
    arguments = settings["arguments"]
    context = int(next((arguments[key] for key in CONTEXT_KEYS if arguments.get(key)), DEFAULT_CONTEXT))
    if settings["kind"] == "llamacpp":
        context //= int(arguments.get("parallel", 1))  # its slots share it
    if context < 2 * workload.max_tokens:
        raise ConfigError(
            f"a context of {context} ids has no room for the workload's turns of {workload.max_tokens}",
            where="config/engines.yaml",
            remedy="raise n_ctx, or lower limits.max_tokens of the workload",
        )
    return context


def disk_error(error: OSError, folder: Path) -> DataError | None:
    """What to say where a write failed for want of room; None for another failure."""
    if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return None
    return DataError(
        f"the disk is full ({error.strerror}): the session was given up and nothing of it was kept",
        where=str(folder),
        remedy="make room and run the same command again",
    )

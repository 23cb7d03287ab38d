"""Playing a workload on a running engine, replay after replay, every turn written down as it happens."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from scripts.common.errors import ConfigError
from scripts.common.files import sha256_file
from scripts.common.protocol import Engine
from scripts.records.session import FileSum, LoadRecord, ReplayFiles, Waits
from scripts.records.settings import Settings
from scripts.records.transcript import ServerSaid, TurnAnswered, TurnLogprobs, TurnTiming
from scripts.sessions.load import Load
from scripts.sessions.progress import Progress
from scripts.workload.chat import ChatForm
from scripts.workload.episode import PlayedTurn, ask_request, opening_prompt, play_episode
from scripts.workload.text_form import TextForm
from scripts.workload.workloads import Request, Scenario, Workload

WARM_UP_TOKENS = 16


@dataclass(frozen=True)
class Replay:
    """What one replay came to: its files' names and hashes, tokens generated, seconds in the engine.

    `said`: what a server that was not started here said of itself, turn by turn.
    """

    files: ReplayFiles
    tokens: int
    seconds: float
    said: list[ServerSaid]


@dataclass
class ReplayWriter:
    """The files of replay `number` in `folder`, written episode by episode; tokens and seconds so far.

    `said`: what a server that was not started here said of itself, turn by turn.
    """

    folder: Path
    number: int
    tokens: int = field(default=0, init=False)
    seconds: float = field(default=0.0, init=False)
    said: list[ServerSaid] = field(default_factory=list, init=False)
    _has_logprobs: bool = field(default=False, init=False)

    def path(self, kind: str) -> Path:
        """The file of a kind: transcript, logprobs, timing or answers."""
        return self.folder / f"replay-{self.number:02d}.{kind}.jsonl"

    def write(self, played: PlayedTurn) -> None:
        """Write a turn to the end of each file."""
        turn, made = played.turn, len(played.turn.output_ids)
        timing = TurnTiming(
            scenario=turn.scenario,
            turn=turn.turn,
            tokens=made,
            seconds=round(played.seconds, 6),
            prompt_tokens=played.prompt_tokens,
            cached_tokens=played.cached_tokens,
        )
        none = TurnLogprobs(scenario=turn.scenario, turn=turn.turn, chosen=[], top=[])
        self._has_logprobs = self._has_logprobs or played.logprobs is not None
        records = {"transcript": turn, "logprobs": played.logprobs or none, "timing": timing}
        if played.said is not None:
            self.said.append(played.said)
            records["answers"] = TurnAnswered(scenario=turn.scenario, turn=turn.turn, said=played.said)
        for kind, record in records.items():
            with open(self.path(kind), "a", encoding="utf-8") as stream:
                stream.write(record.line())
        self.tokens, self.seconds = self.tokens + made, self.seconds + played.seconds

    def done(self) -> Replay:
        """What it came to; without a file of logprobs where the engine offered none."""
        logprobs = self.path("logprobs")
        if not self._has_logprobs:
            logprobs.unlink()
        files = ReplayFiles(
            replay=self.number,
            transcript=_file_sum(self.path("transcript")),
            logprobs=_file_sum(logprobs) if self._has_logprobs else None,
        )
        return Replay(files, self.tokens, self.seconds, self.said)


@dataclass(frozen=True)
class Played:
    """What all replays of a session came to, the load beside them, and seconds from their start to their end."""

    replays: list[Replay]
    load: LoadRecord | None
    wall_seconds: float

    @property
    def waits(self) -> Waits | None:
        """How often the server was waited for; None where it never was."""
        waited = [each for replay in self.replays for each in replay.said if each.waits or each.reconnections]
        if not waited:
            return None
        return Waits(
            answers=len(waited),
            refusals=sum(each.waits for each in waited),
            seconds=round(sum(each.wait_seconds for each in waited), 3),
            reconnections=sum(each.reconnections for each in waited),
        )


@dataclass(frozen=True)
class Player:
    """Plays `workload` as a cell's `settings` say, over the chat form `chat`.

    ConfigError where a turn of the workload has no room in the engine's context.
    """

    chat: ChatForm | TextForm
    workload: Workload
    settings: Settings

    def __post_init__(self) -> None:
        context, most = self.settings.context, self.workload.max_tokens
        if self.workload.requests:
            self._check_room(context)
        elif context < 2 * most:
            raise ConfigError(
                f"a context of {context} ids has no room for the workload's turns of {most}",
                where="config/engines.yaml",
                remedy="raise n_ctx, or lower limits.max_tokens of the workload",
            )

    def _check_room(self, context: int) -> None:
        """Each request has room; how many tokens a chat endpoint makes of one is not known here."""
        for request in self.workload.requests if isinstance(self.chat, ChatForm) else ():
            prompt = len(self.chat.request_prompt(request))
            if prompt + request.max_tokens > context:
                raise ConfigError(
                    f"the request {request.name} has {prompt:,} ids and wants {request.max_tokens:,} more, and the "
                    f"context has room for {context:,}",
                    where="config/engines.yaml",
                    remedy="raise n_ctx (or what the engine calls it), or lower the request's max_tokens",
                )

    def play(self, engine: Engine, folder: Path, replays: int, progress: Progress) -> Played:
        """Warm up, and play so many `replays` into `folder` beside the cell's load."""
        self.warm_up(engine)
        begun = time.time()
        writers = [ReplayWriter(folder, number) for number in range(replays)]
        with Load(engine, self.settings, self.background) as load:
            for scenario, writer, cold in self.episodes(writers):
                if cold:
                    load.reset()
                self.write_episode(engine, scenario, writer, load, progress)
            played = [writer.done() for writer in writers]
        progress.done()
        return Played(played, load.describe(), time.time() - begun)

    def warm_up(self, engine: Engine) -> None:
        """Throw away a first short answer: what follows a start can differ from all later ones.

        A server that runs already was started by nobody, and its first answer is one that its user meets.
        """
        if self.settings.runtime == "external":
            return
        prompt = opening_prompt(self.chat, self.workload, self.workload.episodes[0])
        engine.generate(prompt, max_tokens=WARM_UP_TOKENS, stop_ids=self.chat.stop_ids, top_logprobs=1)
        engine.reset()

    def episodes(
        self, replays: list[ReplayWriter]
    ) -> Iterator[tuple[Scenario | Request, ReplayWriter, bool]]:
        """The episodes in the order in which they are played, and whether the engine is emptied before each.

        Where the prefix cache is kept all replays of a scenario follow one another, so that a context is in the cache
        of an engine with room for one, too.
        """
        if self.settings.harness.prefix_cache == "kept":
            for scenario in self.workload.episodes:
                for replay in replays:
                    yield scenario, replay, replay.number == 0
        else:
            for replay in replays:
                for scenario in self.workload.episodes:
                    yield scenario, replay, True

    def write_episode(
        self,
        engine: Engine,
        scenario: Scenario | Request,
        replay: ReplayWriter,
        load: Load,
        progress: Progress,
    ) -> None:
        """Play one episode of a replay, beside `load`, and write it down."""
        workspace = replay.folder / "workspace"
        workspace.mkdir()
        for played in self.episode(engine, scenario, workspace):
            replay.write(played)
            load.look()
            asked = "–" if isinstance(scenario, Request) else f"{played.question}/{len(scenario.questions)}"
            progress.turn(replay.number, scenario.name, asked, len(played.turn.output_ids), played.seconds)
        shutil.rmtree(workspace)

    def episode(self, engine: Engine, scenario: Scenario | Request, folder: Path) -> Iterator[PlayedTurn]:
        """Play one scenario in the empty `folder`, or ask one request."""
        if isinstance(scenario, Request):
            top = self.settings.top_logprobs
            return iter([ask_request(engine, self.chat, self.workload, scenario, top_logprobs=top)])
        return play_episode(
            engine,
            self.chat,
            self.workload,
            scenario,
            folder=folder,
            listing=self.settings.harness.list_files,
            top_logprobs=self.settings.top_logprobs,
            context=self.settings.context,
        )

    def background(self, engine: Engine, number: int) -> Generator[int, None, None]:
        """The requests of a background stream: episodes of the workload in an order that nobody chose."""
        order = random.Random()
        while True:
            with tempfile.TemporaryDirectory(prefix="tempzero-") as workspace:
                for played in self.episode(engine, order.choice(self.workload.episodes), Path(workspace)):
                    yield len(played.turn.output_ids)


def _file_sum(path: Path) -> FileSum:
    return FileSum(path=path.name, sha256=sha256_file(path))

"""Playing a workload on a running engine, replay after replay, every turn written down as it happens."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
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
from scripts.workload.episode import TOOL_SCHEMAS, PlayedTurn, first_messages, play_episode
from scripts.workload.text_form import TextForm
from scripts.workload.workloads import Scenario, Workload

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
        if context < 2 * most:
            raise ConfigError(
                f"a context of {context} ids has no room for the workload's turns of {most}",
                where="config/engines.yaml",
                remedy="raise n_ctx, or lower limits.max_tokens of the workload",
            )

    def play(self, engine: Engine, folder: Path, replays: int, progress: Progress) -> Played:
        """Warm up, and play so many `replays` into `folder` beside the cell's load."""
        self.warm_up(engine)
        begun = time.time()
        with Load(engine, self.settings, self.background) as load:
            played = [self.replay(number, engine, load, folder, progress) for number in range(replays)]
        progress.done()
        return Played(played, load.describe(), time.time() - begun)

    def warm_up(self, engine: Engine) -> None:
        """Throw away a first short answer: what follows a start can differ from all later ones.

        A server that runs already was started by nobody, and its first answer is one that its user meets.
        """
        if self.settings.runtime == "external":
            engine.reset()
            return
        opening = first_messages(self.workload, self.workload.scenarios[0])
        prompt = self.chat.first_prompt(opening, TOOL_SCHEMAS)
        engine.generate(prompt, max_tokens=WARM_UP_TOKENS, stop_ids=[self.chat.stop_id], top_logprobs=1)
        engine.reset()

    def replay(self, number: int, engine: Engine, load: Load, folder: Path, progress: Progress) -> Replay:
        """Play the whole workload once, beside `load`, and write the replay's files into `folder`."""
        transcript, logprobs, timing, answers = (
            folder / f"replay-{number:02d}.{kind}.jsonl"
            for kind in ("transcript", "logprobs", "timing", "answers")
        )
        tokens, seconds, has_logprobs = 0, 0.0, False
        servers: list[ServerSaid] = []
        with ExitStack() as stack:
            said, computed, timed, answered = (
                stack.enter_context(open(path, "w", encoding="utf-8"))
                for path in (transcript, logprobs, timing, answers)
            )
            for scenario in self.workload.scenarios:
                load.reset()
                workspace = folder / "workspace"
                workspace.mkdir()
                for played in self.episode(engine, scenario, workspace):
                    said.write(played.turn.line())
                    has_logprobs = has_logprobs or played.logprobs is not None
                    none = TurnLogprobs(scenario=scenario.name, turn=played.turn.turn, chosen=[], top=[])
                    computed.write((played.logprobs or none).line())
                    if played.said is not None:
                        servers.append(played.said)
                        answered.write(
                            TurnAnswered(
                                scenario=scenario.name, turn=played.turn.turn, said=played.said
                            ).line()
                        )
                    load.look()
                    made = len(played.turn.output_ids)
                    timed.write(
                        TurnTiming(
                            scenario=scenario.name,
                            turn=played.turn.turn,
                            tokens=made,
                            seconds=round(played.seconds, 6),
                        ).line()
                    )
                    tokens, seconds = tokens + made, seconds + played.seconds
                    asked = f"{played.question}/{len(scenario.questions)}"
                    progress.turn(number, scenario.name, asked, made, played.seconds)
                shutil.rmtree(workspace)
        if not has_logprobs:
            logprobs.unlink()
        if not servers:
            answers.unlink()
        files = ReplayFiles(
            replay=number,
            transcript=_file_sum(transcript),
            logprobs=_file_sum(logprobs) if has_logprobs else None,
        )
        return Replay(files, tokens, seconds, servers)

    def episode(self, engine: Engine, scenario: Scenario, folder: Path) -> Iterator[PlayedTurn]:
        """Play one scenario in the empty `folder`."""
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
                for played in self.episode(engine, order.choice(self.workload.scenarios), Path(workspace)):
                    yield len(played.turn.output_ids)


def _file_sum(path: Path) -> FileSum:
    return FileSum(path=path.name, sha256=sha256_file(path))

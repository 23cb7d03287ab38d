"""A session of a sweep: one engine process asked the same prompts again and again along an axis, thresholds bisected.

Prompt k is the opening of the workload's scenario (or request) k and of those after it, over and over, cut to length:
a longer prompt begins with all of a shorter one. Where there are more prompts than scenarios, the next round begins one
id later.
"""

from __future__ import annotations

import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, cycle, islice
from pathlib import Path

import msgspec

from scripts.common.errors import UnsupportedError
from scripts.common.files import canonical_json, sha256_bytes, sha256_file
from scripts.common.protocol import Engine, Scores
from scripts.engines.answers import digest
from scripts.provenance.code import describe_code
from scripts.provenance.machine import describe_machine
from scripts.quants.manifest import verify_manifest
from scripts.records.session import WeightsSum, WorkloadSum
from scripts.records.settings import Settings
from scripts.records.sweep import Purpose, SweepAsked, SweepMode, SweepPoint, SweepRecord
from scripts.sessions.aside import session_folder
from scripts.sessions.deployment import Deployment
from scripts.sessions.load import Load
from scripts.sessions.progress import Progress
from scripts.sessions.session import heeded_environment, now, relative
from scripts.verdict.edges import next_look
from scripts.workload.chat import ChatForm
from scripts.workload.episode import opening_prompt
from scripts.workload.text_form import TextForm
from scripts.workload.workloads import Workload

WARM_UP_PASSES = 2
BACKGROUND_TOKENS = 64  # that a request beside the measured one generates


@dataclass(frozen=True)
class SweepSession:
    """What is run: session `number` of a cell's `sweep`, from 0, with prompts of `workload`, on `deployment`."""

    number: int
    sweep: SweepAsked
    workload: Workload
    deployment: Deployment


@dataclass(frozen=True)
class Pass:
    """One pass over a prompt: of each position the most likely (or generated) id, a digest and the logprob of the id
    that was given (or generated)."""

    ids: list[int]
    digests: list[str]
    chosen: list[float]

    @property
    def digest(self) -> str:
        """16 hexadecimal digits over its ids and digests."""
        return sha256_bytes(canonical_json([self.ids, self.digests]).encode())[:16]


def build_prompts(
    chat: ChatForm | TextForm, workload: Workload, prompts: int, length: int
) -> list[list[int]]:
    """So many prompts of `length` ids."""
    if isinstance(chat, TextForm):
        raise UnsupportedError(
            "a prompt of so many tokens is made of token ids, and this server is sent text",
            remedy="name its model's tokenizer: --config tokenizer=FOLDER",
        )
    openings = [opening_prompt(chat, workload, each) for each in workload.episodes]
    found = []
    for number in range(prompts):
        rounds, start = divmod(number, len(openings))
        ids = chain.from_iterable(cycle(openings[start:] + openings[:start]))
        found.append(list(islice(ids, rounds, rounds + length)))
    return found


def _forced(scores: Scores) -> Pass:
    return Pass([best[0][0] for best in scores.top], scores.digests, scores.chosen)


def _prefill(engine: Engine, ids: Sequence[int], sweep: SweepAsked, top_logprobs: int) -> Pass:
    return _forced(engine.score(ids, top_logprobs=top_logprobs))


def _decode(engine: Engine, ids: Sequence[int], sweep: SweepAsked, top_logprobs: int) -> Pass:
    prompt, output = ids[: -sweep.tokens], ids[-sweep.tokens :]
    return _forced(engine.force(prompt, output, top_logprobs=top_logprobs))


def _free(engine: Engine, ids: Sequence[int], sweep: SweepAsked, top_logprobs: int) -> Pass:
    made = engine.generate(ids, max_tokens=sweep.tokens, stop_ids=[], top_logprobs=top_logprobs)
    if made.chosen is None or made.top is None:
        raise UnsupportedError("this engine offers no logprobs, so bits cannot be compared")
    chosen = [each for each in made.chosen if each is not None]
    if len(chosen) < len(made.output_ids):
        raise UnsupportedError("this engine gives no logprobs of some ids, so bits cannot be compared")
    digests = [digest(*each) for each in zip(chosen, made.top, strict=True)]
    return Pass(made.output_ids, digests, chosen)


TAKE: dict[SweepMode, Callable[[Engine, Sequence[int], SweepAsked, int], Pass]] = {
    "prefill": _prefill,
    "decode": _decode,
    "free": _free,
}


def compare(
    passes: Sequence[Pass],
    *,
    prompt: int,
    value: int,
    purpose: Purpose,
    free: bool,
    seconds: float,
    alone: Pass | None = None,
) -> SweepPoint:
    """What passes of one prompt at one value show; `free`: their ids are the model's own and end the comparison where
    they part. `alone`: what they are compared with besides each other."""
    digests = [each.digest for each in passes]
    passes = [*passes, *([] if alone is None else [alone])]
    columns = list(zip(*(each.ids for each in passes), strict=True))
    flipped = [index for index, ids in enumerate(columns) if len(set(ids)) > 1]
    positions = min(flipped[0] + 1 if free and flipped else len(columns), len(columns))
    unequal = [
        index
        for index, bits in enumerate(zip(*(each.digests[:positions] for each in passes), strict=True))
        if len(set(bits)) > 1
    ]
    chosen = zip(*(each.chosen[:positions] for each in passes), strict=True)
    apart = [max(each) - min(each) for index, each in enumerate(chosen) if not free or index not in flipped]
    return SweepPoint(
        prompt=prompt,
        value=value,
        purpose=purpose,
        digests=digests,
        positions=positions,
        unequal=len(unequal),
        flips=1 if free and flipped else len(flipped),
        first=unequal[0] if unequal else None,
        largest=max(apart, default=0.0),
        seconds=round(seconds, 6),
        unlike=None if alone is None else len(digests) - digests.count(alone.digest),
    )


class Sweeper:
    """Looks at `prompts` on a running engine along a sweep's axis, and bisects between equal and unequal values."""

    def __init__(
        self, engine: Engine, settings: Settings, sweep: SweepAsked, prompts: Sequence[Sequence[int]]
    ) -> None:
        self._engine, self._settings, self._sweep, self._prompts = engine, settings, sweep, prompts
        self._alone: dict[int, Pass] = {}

    def run(self, progress: Progress) -> list[SweepPoint]:
        """All points of the session: the listed values of every prompt, then, prompt by prompt, the thresholds."""
        sweep = self._sweep
        values = sweep.values if sweep.axis != "gpus" else (self._settings.gpus,)
        prompts = range(len(self._prompts))
        points: list[SweepPoint] = []

        def look(prompt: int, value: int, purpose: Purpose) -> None:
            point = self._look(prompt, value, purpose)
            points.append(point)
            where = f"{sweep.axis.replace('_', ' ')} {value}, {purpose}"
            progress.step(prompt, where, point.passes * point.positions, point.seconds)

        self._warm_up()
        with self._loaded(None):
            for value in values:
                for prompt in prompts:
                    look(prompt, value, "listed")
            for prompt in prompts:
                for _ in range(sweep.looks):
                    wanted = next_look([each for each in points if each.prompt == prompt])
                    if wanted is None:
                        break
                    look(prompt, *wanted)
        progress.done()
        return points

    def _look(self, prompt: int, value: int, purpose: Purpose) -> SweepPoint:
        sweep = self._sweep
        length = value if sweep.axis == "prompt_tokens" else sweep.prompt_tokens
        ids = self._cut(prompt, length)
        count = sweep.confirm if purpose == "confirmed" else sweep.passes
        with self._loaded(value):
            begun = time.perf_counter()
            passes = [self._take(ids) for _ in range(count)]
            seconds = time.perf_counter() - begun
        alone = None
        if sweep.axis == "in_flight":  # the smallest value comes first
            usual = Counter(each.digest for each in passes).most_common(1)[0][0]
            alone = self._alone.setdefault(prompt, next(each for each in passes if each.digest == usual))
        free = sweep.mode == "free"
        return compare(
            passes, prompt=prompt, value=value, purpose=purpose, free=free, seconds=seconds, alone=alone
        )

    def _take(self, ids: Sequence[int]) -> Pass:
        self._load.reset()
        found = self._ask(ids)
        self._load.look()
        return found

    def _ask(self, ids: Sequence[int]) -> Pass:
        return TAKE[self._sweep.mode](self._engine, ids, self._sweep, self._settings.top_logprobs)

    def _cut(self, prompt: int, length: int) -> Sequence[int]:
        """A prompt of so many ids, and in decode the ids that follow it."""
        return self._prompts[prompt][: length + (self._sweep.tokens if self._sweep.mode == "decode" else 0)]

    def _warm_up(self) -> None:
        """Throw away first answers at both ends of the axis: what follows a start can differ from all later ones."""
        over_length = self._sweep.axis == "prompt_tokens"
        lengths = self._sweep.values if over_length else (self._sweep.prompt_tokens,)
        for length in sorted({min(lengths), max(lengths)}):
            for _ in range(WARM_UP_PASSES):
                self._engine.reset()
                self._ask(self._cut(0, length))

    @contextmanager
    def _loaded(self, value: int | None) -> Iterator[None]:
        """Inside, the load of the cell; of a sweep over requests in flight that of the value, and none without one."""
        over_load = self._sweep.axis == "in_flight"
        if over_load == (value is None):
            yield
            return
        settings = self._settings
        if value is not None:
            harness = msgspec.structs.replace(settings.harness, concurrency=value)
            settings = msgspec.structs.replace(settings, harness=harness)
        with Load(self._engine, settings, self._background) as self._load:
            yield

    def _background(self, engine: Engine, number: int) -> Generator[int, None, None]:
        """The requests of a background stream: the prompts cut at random, so that the batch is never the same."""
        chance = random.Random()
        room = self._settings.context - BACKGROUND_TOKENS
        while True:
            prompt = chance.choice(self._prompts)
            ids = prompt[: chance.randint(1, min(len(prompt), room))]
            made = engine.generate(ids, max_tokens=BACKGROUND_TOKENS, stop_ids=[], top_logprobs=1)
            yield len(made.output_ids)


def run_sweep(session: SweepSession, output: Path) -> None:
    """Run a session of a sweep and write `output` (sweep.json) in a folder of its own; on any failure nothing is."""
    deployment, sweep = session.deployment, session.sweep
    settings = deployment.settings
    verify_manifest(deployment.manifest)
    with session_folder(output.parent) as folder:
        started = now()
        prompts = build_prompts(deployment.chat_form(), session.workload, sweep.prompts, sweep.longest)
        title = deployment.title(f"sweep {sweep.name}, session {session.number}")
        progress = Progress(title, sweep.prompts, unit="prompt")
        with deployment.start() as engine:
            points = Sweeper(engine, settings, sweep, prompts).run(progress)
            described = engine.describe()
            machine = describe_machine()  # while the GPUs are this session's
        SweepRecord(
            session=session.number,
            sweep=sweep,
            points=points,
            settings=settings,
            workload=WorkloadSum(name=session.workload.name, sha256=session.workload.sha256),
            weights=WeightsSum(manifest_sha256=sha256_file(deployment.manifest)),
            engine_record=deployment.record,
            resolved=described,
            argv=[relative(part) for part in sys.orig_argv],
            environment=heeded_environment(settings.environment),
            machine=machine,
            code=describe_code(Path()),
            started=started,
            ended=now(),
        ).write(folder / output.name)

"""Which sessions and replays a cell holds; that each file is there and is what its session recorded."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from scripts.common.errors import DataError
from scripts.common.files import sha256_file
from scripts.records.session import FileSum, ReplayFiles, SessionRecord

AGAIN = SessionRecord.REMEDY
_SESSION = re.compile(r"session-(\d+)")
_FILE = re.compile(r"replay-(\d+)\.(transcript|logprobs)\.jsonl")


@dataclass(frozen=True)
class Session:
    """One engine process: its number, its folder, and what its session.json says."""

    number: int
    folder: Path
    record: SessionRecord

    @property
    def where(self) -> str:
        """The session.json's path, for messages."""
        return str(self.folder / "session.json")


@dataclass(frozen=True)
class Replay:
    """One pass of the workload: its two files and their sha256 (logprobs None for a text-only engine).

    `said_so`: where there are none, its session lists it without them.
    """

    session: int
    number: int
    transcript: Path
    transcript_sha256: str
    logprobs: Path | None
    logprobs_sha256: str | None
    said_so: bool = False


def find_sessions(cell: Path) -> list[Session]:
    """The cell's sessions that ran, in order of number; DataError names what is torn or out of place."""
    if not cell.is_dir():
        raise DataError("the cell's folder is missing", where=str(cell), remedy="run its sessions first")
    found = sorted(
        (int(match.group(1)), path)
        for path in cell.iterdir()
        if path.is_dir() and (match := _SESSION.fullmatch(path.name))
    )
    if not found:
        raise DataError("the cell has no session", where=str(cell), remedy="run its sessions first")
    return [_read_session(number, path) for number, path in found]


def _read_session(number: int, folder: Path) -> Session:
    session = Session(number, folder, SessionRecord.read(folder / "session.json"))
    for key, value in (("tokens", session.record.tokens), ("seconds", session.record.seconds)):
        if value < 0:
            raise DataError(f"{key} is {value}, not a number from 0 on", where=session.where, remedy=AGAIN)
    if session.record.session != number:
        raise DataError(
            f"the folder is number {number}, its session.json says session {session.record.session}",
            where=session.where,
            remedy="put the folder back where it was written, or " + AGAIN,
        )
    return session


def find_replays(sessions: list[Session]) -> list[Replay]:
    """All replays of the sessions in reading order (session, then replay), hashed.

    Refused (DataError): a transcript without its logprobs, where others have theirs and its session does
    not list it without, or logprobs without their transcript, a gap in
    the numbers (against session.json's `files` or `replays` where it has them), a file that session.json
    does not list, a file whose sha256 is not the one recorded there.
    """
    replays = [replay for session in sessions for replay in _session_replays(session)]
    lacking = next((replay for replay in replays if replay.logprobs is None and not replay.said_so), None)
    if lacking is not None and any(replay.logprobs is not None for replay in replays):
        raise DataError(
            "the logprobs file is missing: other replays of the cell have theirs",
            where=str(lacking.transcript).replace(".transcript.", ".logprobs."),
            remedy=AGAIN,
        )
    return replays


def _session_replays(session: Session) -> list[Replay]:
    found: dict[str, dict[int, Path]] = {"transcript": {}, "logprobs": {}}
    for path in sorted(session.folder.iterdir()):
        if match := _FILE.fullmatch(path.name):
            number, kind = int(match.group(1)), match.group(2)
            if number in found[kind]:
                raise DataError(
                    f"replay {number} is there twice, as {found[kind][number].name} too", where=str(path)
                )
            found[kind][number] = path
    record = session.record
    present = set(found["transcript"]) | set(found["logprobs"])
    listed = {entry.replay: entry for entry in record.files or ()}
    count = max(present, default=-1) + 1 if record.replays is None else record.replays
    numbers = sorted(listed) if record.files is not None else list(range(count))
    if not numbers:
        raise DataError("the session has no replay", where=str(session.folder), remedy=AGAIN)
    for number in numbers:
        if number not in found["transcript"]:
            name = f"replay-{number:02d}.transcript.jsonl"
            raise DataError("the file is missing", where=str(session.folder / name), remedy=AGAIN)
    strange = sorted(present - set(numbers))
    if strange:
        path = found["transcript"].get(strange[0]) or found["logprobs"][strange[0]]
        raise DataError(
            f"session.json does not know replay {strange[0]}",
            where=str(path),
            remedy="remove it if it was put there by hand, or " + AGAIN,
        )
    return [
        _hashed(
            session,
            found["transcript"][number],
            found["logprobs"].get(number),
            listed.get(number, ReplayFiles(replay=number)),
        )
        for number in numbers
    ]


def _hashed(session: Session, transcript: Path, logprobs: Path | None, listed: ReplayFiles) -> Replay:
    text = _checked_sha256(transcript, listed.transcript)
    if logprobs is None:
        if listed.logprobs:
            where = str(transcript).replace(".transcript.", ".logprobs.")
            raise DataError("the file is missing", where=where, remedy=AGAIN)
        return Replay(
            session.number, listed.replay, transcript, text, None, None, listed.transcript is not None
        )
    bits = _checked_sha256(logprobs, listed.logprobs)
    return Replay(session.number, listed.replay, transcript, text, logprobs, bits)


def _checked_sha256(path: Path, recorded: FileSum | None) -> str:
    digest = sha256_file(path)
    if recorded is not None and recorded.sha256 != digest:
        raise DataError(
            f"the file is torn or was changed: its sha256 is {digest[:12]}…, "
            f"its session recorded {recorded.sha256[:12]}…",
            where=str(path),
            remedy=AGAIN,
        )
    return digest

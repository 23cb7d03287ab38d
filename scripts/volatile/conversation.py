"""A recorded conversation, whatever wrote it: what was asked, said, called and returned, in its order."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

PROMPT_IDS = "token ids"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of content: a text; or an image or other medium, whose `text` is its data as the log has it."""

    text: str
    media: str = ""

    @property
    def digest(self) -> str:
        """A medium in a few words: what it is, its length, its hash."""
        data = self.text.encode("utf-8", "surrogatepass")
        return f"{self.media}, {len(data):,} bytes as logged, sha256 {hashlib.sha256(data).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True)
class Prompt:
    """What the harness put before the model. `role`: system, user, or tools (their descriptions, one a line)."""

    role: str
    content: tuple[Part, ...]


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said, its thoughts included."""

    text: str


@dataclass(frozen=True, slots=True)
class Call:
    """A call of a tool. `key`: the id that its result names, or empty. `arguments`: canonical where they are JSON."""

    key: str
    tool: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned. `key`: the call's id, or empty, where it answers the first call that waits."""

    key: str
    tool: str
    content: tuple[Part, ...]


Item = Prompt | Said | Call | Result


@dataclass(frozen=True, slots=True)
class Conversation:
    """One conversation. `task`: what the log calls the task, or empty."""

    name: str
    task: str
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class Log:
    """The conversations of a file, and what of it was not read, in words."""

    conversations: tuple[Conversation, ...]
    notes: tuple[str, ...] = ()


def text_of(content: tuple[Part, ...]) -> str:
    """The texts of a content, joined by newlines, media left out."""
    return "\n".join(part.text for part in content if not part.media)

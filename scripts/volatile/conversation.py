"""A recorded conversation, whatever wrote it: what was asked, said, called and returned, in its order."""

from __future__ import annotations

import hashlib
import sys
from dataclasses import dataclass

PROMPT_IDS = "token ids"


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of content: a text; or an image or other medium, whose text is its data as the log has it.

    `data`: the text, or its UTF-8 where Python would take two or four bytes for each of its characters. Made by `part`.
    """

    data: str | bytes
    media: str = ""

    @property
    def text(self) -> str:
        """The text, or the medium's data."""
        return self.data if isinstance(self.data, str) else self.data.decode("utf-8", "surrogatepass")

    @property
    def digest(self) -> str:
        """A medium in a few words: what it is, its length, its hash."""
        data = self.text.encode("utf-8", "surrogatepass")
        return f"{self.media}, {len(data):,} bytes as logged, sha256 {hashlib.sha256(data).hexdigest()[:12]}"


def part(text: str, media: str = "") -> Part:
    """A text or a medium's data as a piece of content."""
    wide = len(text) > 64 and not text.isascii() and sys.getsizeof(text) > 3 * len(text) / 2
    return Part(text.encode("utf-8", "surrogatepass") if wide else text, media)


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
    """A call of a tool. `key`: the id that its result names, or empty. `arguments`: canonical where they are JSON.

    `written`: whether it stands in what the model said before it, as text.
    """

    key: str
    tool: str
    arguments: str
    written: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """What a tool returned. `key`: the call's id, or empty, where it answers the first call that waits.

    `written`: whether the user said it, after a call that was written as text.
    """

    key: str
    tool: str
    content: tuple[Part, ...]
    written: bool = False


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
    return "\n".join(each.text for each in content if not each.media)

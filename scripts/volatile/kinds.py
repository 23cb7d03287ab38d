"""What kind of volatile state a piece of text is, from how it looks and from the words around it."""

from __future__ import annotations

import re
from dataclasses import dataclass

TIME = "time"
DURATION = "duration"
PROCESS = "process id"
PORT = "port"
INODE = "inode"
MEMORY = "memory address"
NETWORK = "network address"
UUID = "uuid"
TEMPORARY = "temporary name"
PATH = "path"
RANDOM = "random id or hash"
HOST = "host name"
USER = "user or group"
SIZE = "memory or disk size"
ORDER = "ordering"
NUMBER = "number"
CONTENT = "other content"

# What no call of the model's can have changed, so that it is volatile also after two runs went separate ways.
SURE = frozenset({TIME, DURATION, PROCESS, PORT, INODE, MEMORY, NETWORK, UUID, TEMPORARY, HOST})

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_CLOCK = r"\d{1,2}:\d{2}(?::\d{2}(?:[.,]\d+)?)?(?:\s?[AaPp]\.?[Mm]\b\.?)?"
_ZONE = r"(?:\s?(?:Z\b|UTC\b|GMT\b|CES?T\b|[+-]\d{2}:?\d{2}\b))?"
_DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}"
_TIME = (
    rf"(?:{_DAY},?\s+)?(?:"
    rf"(?:{_DATE})(?:[T ]\s*{_CLOCK}{_ZONE})?"
    rf"|\d{{4}}\d{{2}}\d{{2}}T\d{{6}}Z?"
    rf"|\d{{1,2}}[ -]{_MONTH}[ -]\d{{4}}(?:[ ,:T]+{_CLOCK}{_ZONE})?"
    rf"|\b{_MONTH}\s+\d{{1,2}}\b(?:,?\s+{_CLOCK}{_ZONE})?(?:,?\s+\d{{4}}\b)?"
    rf"|{_CLOCK}{_ZONE})(?:\s+\d{{4}}\b)?"
)
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_IPV4 = r"\d{1,3}(?:\.\d{1,3}){3}(?![\d.])"
_MAC = r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"
_IPV6 = r"(?:[0-9a-fA-F]{0,4}:){2,7}[0-9a-fA-F]{1,4}(?:%\w+)?"
_UNIT = "ns|µs|us|ms|s|secs?|min|m|h|[KMGT]i?B|[kKMGT]B?|B|bytes?"
_LASTED = r"(?:\d+[hH]\s?)?\d+m\s?\d+(?:\.\d+)?s"

ATOM = re.compile(
    rf"(?P<uuid>\b{_UUID}\b)"
    rf"|(?P<mac>\b{_MAC}\b)"
    rf"|(?P<lasted>\b{_LASTED}\b)"
    rf"|(?P<time>(?<![\w:.]){_TIME}(?![\w:]))"
    rf"|(?P<ipv4>(?<![\w.]){_IPV4})"
    rf"|(?P<ipv6>(?<![\w:]){_IPV6}(?![\w:]))"
    r"|(?P<hex>0x[0-9a-fA-F]+)"
    r"|(?P<path>(?:[A-Za-z]:\\|~?/)(?:[\w.@%+~-]+[/\\])*[\w.@%+~-]+(?:\.\w+)?[/\\]?)"
    rf"|(?P<number>(?<![\w.])[-+]?\d+(?:[.,]\d+)*(?=(?:{_UNIT})\b|%|(?!\w)))"
    r"|(?P<word>[^\W_](?:[\w-]|[.+@](?=\w))*|_\w+)"
    r"|(?P<space>\s+)"
    r"|(?P<mark>.)",
    re.DOTALL,
)

_LABELS = {
    PROCESS: r"(?:\bp?pids?|\btids?|\bprocess(?:[ _-]?id)?|\bthread(?:[ _-]?id)?|\w\[)",
    PORT: r"(?:port|\blistening on(?: \S+:)?)s?",
    INODE: r"\b(?:st_)?i-?no(?:de)?s?",
    DURATION: r"(?:duration|elapsed|latency|\btook|uptime|\bruntime|\breal|\bsys|time_?taken|\bfinished in)"
    r"(?:_?(?:s|ms|us|ns|secs?|seconds))?",
    SIZE: r"(?:\brss|\bvsz|heap|mem(?:ory)?(?:total|free|available|_?used|_free|[ _]usage)?|\bfree|\bused"
    r"|\bavail(?:able)?|\bswap|\bcached|\bbuffers)(?:_?(?:k?b|mb|gb|bytes|kib|mib))?",
    HOST: r"(?:\bhost(?:[ _]?name)?|\bnode(?:name)?|\bserver(?:_?name)?|\bmachine|\bLinux)",
    USER: r"(?:\buser(?:[ _]?name)?|\bowner|\blog(?:in|name|ged in as)|\b[eg]?uid|\bgid|\bgroup|\bwhoami|\bhome)",
    TIME: r"(?:time(?:stamp)?|\bdate|\b[amc]time|_at|\bepoch|\bsince|modified|created|\bnow|\bexpires)"
    r"(?:_?(?:s|ms|us|ns))?",
    RANDOM: r"(?:\bnonce|\bseed|\btoken|(?:session|request|trace)(?:[ _]?id)?|\bhash|\bsha\d*|\bmd5|\betag"
    r"|checksum|digest|\brandom)",
}
# At most a word's end, quotes, and one sign between the label and its value.
_BEFORE = {kind: re.compile(rf"{label}\W{{0,4}}$", re.IGNORECASE) for kind, label in _LABELS.items()}
_LASTS = re.compile(r"\s?(?:ns|µs|us|ms|s|secs?|seconds?|mins?|minutes?|hours?|h)\b")
_WEIGHS = re.compile(r"\s?(?:[KMGT]i?B|[kKMGT]|kB|B|bytes?)\b")
_ADDRESSED = re.compile(
    r"(?:localhost|\d\.\d+|\]|https?://[\w.-]+|\btcp|\budp|[a-z][\w-]*\.[a-z][\w.-]*|\*):$", re.IGNORECASE
)
_TEMPORARY = re.compile(
    r"(?:^|[/\\])(?:tmp|temp)(?:[/\\]|$)|/var/folders/|\\Temp\\|(?:^|[/\\._-])te?mp[._-]?\w*\d\w*|(?:^|[/\\._-])tmp[._-]?[A-Za-z0-9_]{6,}",
    re.IGNORECASE,
)
_HEX = re.compile(r"(?:[a-z]+:)?[0-9a-fA-F]{7,}")
_TEMPORARY_STEM = re.compile(r"[\w-]*[._-]?(?:tmp|temp)\b[._-]?", re.IGNORECASE)
_QUALIFIED = re.compile(r"[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*){1,}")
_FILE = re.compile(r"\.[A-Za-z]\w{0,4}$")
_EPOCH = re.compile(r"1\d{9}(?:\d{3}|\d{6}|\d{9})?(?:[.,]\d+)?")
_DIGITS = re.compile(r"[-+]?\d[\d.,]*")


@dataclass(frozen=True)
class Atom:
    """A piece of a text: where it begins, what it is, and the shape that it is aligned by."""

    start: int
    text: str
    look: str

    @property
    def shape(self) -> str:
        """Equal for pieces that can stand for one another: all times are, all numbers are, each word is itself."""
        return self.text if self.look in ("word", "space", "mark", "path") else f"\0{self.look}"

    @property
    def end(self) -> int:
        """Where it ends."""
        return self.start + len(self.text)


def atoms(text: str) -> list[Atom]:
    """The text in pieces, none left out."""
    return [Atom(each.start(), each.group(), str(each.lastgroup)) for each in ATOM.finditer(text)]


def kind_of(one: str, other: str, look: str, before: str, after: str) -> str:
    """The kind of two pieces that differ, with the text of their line `before` and `after` the first.

    `look`: what the first looks like, a group of ATOM.
    """
    plain = {"uuid": UUID, "mac": NETWORK, "lasted": DURATION, "time": TIME, "ipv4": NETWORK, "ipv6": NETWORK}
    if look in plain:
        return plain[look]
    if look == "hex":
        return MEMORY if min(len(one), len(other)) >= 6 else NUMBER
    if look == "path":
        return TEMPORARY if _TEMPORARY.search(one) and _TEMPORARY.search(other) else PATH
    both_numbers = bool(_DIGITS.fullmatch(one) and _DIGITS.fullmatch(other))
    if both_numbers:
        return _of_numbers(one, other, before, after)
    if _TEMPORARY.search(one) and _TEMPORARY.search(other):
        return TEMPORARY
    if _random(one, other) and not _BEFORE[HOST].search(before):
        return RANDOM
    if _BEFORE[HOST].search(before) or re.search(r"\w@$", before):
        return HOST
    if _BEFORE[USER].search(before) or after.startswith("@"):
        return USER
    if _BEFORE[RANDOM].search(before):
        return RANDOM
    if "@" in one and "@" in other:
        return HOST if one.partition("@")[0] == other.partition("@")[0] else USER
    if _QUALIFIED.fullmatch(one) and _QUALIFIED.fullmatch(other) and not _FILE.search(one):
        return HOST
    return CONTENT


def _of_numbers(one: str, other: str, before: str, after: str) -> str:
    for kind in (PROCESS, PORT, INODE):
        if _BEFORE[kind].search(before):
            return kind
    if _ADDRESSED.search(before):
        return PORT
    if _EPOCH.fullmatch(one) and _EPOCH.fullmatch(other):
        return TIME
    if _BEFORE[RANDOM].search(before):
        return RANDOM
    if _WEIGHS.match(after):
        return SIZE
    if _LASTS.match(after):
        return DURATION
    for kind in (TIME, DURATION, SIZE, USER):
        if _BEFORE[kind].search(before):
            return kind
    return NUMBER


def _random(one: str, other: str) -> bool:
    """Whether both look drawn by chance: hexadecimal digits, or letters and digits mixed, of one length."""
    if _HEX.fullmatch(one) and _HEX.fullmatch(other):
        return any(each.isdigit() for each in one + other)
    mixed = (each for each in (one, other) if re.search(r"\d", each) and re.search(r"[A-Za-z]", each))
    return len(one) == len(other) >= 8 and len(list(mixed)) == 2

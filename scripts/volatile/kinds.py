"""What kind of volatile state a piece of text is, from how it looks and from the words around it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

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
VERSION = "version"
ORDER = "ordering"
IMAGE = "image"
SPACE = "white space"
NUMBER = "number"
CONTENT = "other content"

KINDS = (
    TIME, DURATION, PROCESS, PORT, INODE, MEMORY, NETWORK, UUID, TEMPORARY, PATH, RANDOM, HOST, USER, SIZE, VERSION,
    ORDER, IMAGE, SPACE, NUMBER, CONTENT,
)  # fmt: skip

AROUND = 48  # characters beside a value that tell what it is

# ---------------------------------------------------------------- what is hidden before a text is taken to pieces

# Escapes of JSON in a string (also of JSON in JSON) and terminal colours: no part of the value that they touch. A
# Windows path's backslashes are none.
_HIDDEN = re.compile(
    r"(?P<kept>\b[A-Za-z]:\\+(?![\"nrt]\W)[\w.\\ +~-]+)"
    r"|(?:\x1b|\\+u001[bB]|\\+x1[bB]|\\+033)(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b\n]{0,99}(?:\x07|\\+u0007))"
    r"|\\+(?:[nrtbf\"/']|u[0-9a-fA-F]{4})|\\{2,}"
)


def masked(text: str) -> str:
    """The text, of the same length, with blanks in place of escapes and terminal colours."""
    if "\\" not in text and "\x1b" not in text:
        return text
    return _HIDDEN.sub(lambda found: found["kept"] or " " * len(found.group()), text)


# ---------------------------------------------------------------- pieces

_MONTH = r"(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)[a-z]*"
_DAY = r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun)[a-z]*"
_CLOCK = r"(?:[01]?\d|2[0-4]):[0-5]\d(?::[0-6]\d(?:[.,]\d+)?)?(?![\d]|:\d)(?:\s?[AaPp]\.?[Mm]\b\.?)?"
_ZONE = (
    r"(?:\s?(?:Z\b|(?:UTC|GMT)(?:[+-]\d{1,2}(?::?\d{2})?)?\b|CES?T\b|[ECMP][SD]T\b|MSK\b|JST\b"
    r"|[+-]\d{2}:?\d{2}\b))?"
)
_DATE = r"\d{4}[-/.]\d{1,2}[-/.]\d{1,2}|\d{1,2}[/.]\d{1,2}[/.]\d{4}"
_STEMS = (
    "jan|ene|gen|янв|sty|led|oca|feb|fév|fev|фев|lut|úno|şub|mar|mär|maa|mrt|мар|bře|abr|apr|avr|апр|kwi|dub|nis|may"
    "|mai|mag|maj|mei|мая|май|kvě|jun|jui|juin|giu|июн|cze|čer|haz|jul|lug|июл|lip|tem|aug|aoû|ago|авг|sie|srp|ağu"
    "|sep|set|сен|wrz|zář|eyl|oct|okt|ott|out|окт|paź|říj|eki|nov|ноя|lis|kas|dec|déc|dez|dic|дек|gru|pro|ara|des"
)
_WEEKDAYS = (
    "mo|di|mi|do|fr|sa|so|lun|mar|mer|jeu|ven|sam|dim|mié|jue|vie|sáb|dom|gio|sab|seg|ter|qua|qui|sex|maa|din|woe"
    "|don|vri|zat|zon|пн|вт|ср|чт|пт|сб|вс|пон|вто|сре|чет|пят|суб|вос|pon|wto|śro|czw|pią|sob|nie|mån|tis|ons|tor"
    "|fre|lör|sön|man|søn|lør"
)
_AT = r"(?:à|um|om|kl\.?|at|a las|às|alle|в|o)?"
# A date in words of another language needs its year or a clock: "3 mars" may be planets.
_WORDED = (
    rf"(?i:(?:\b(?:{_WEEKDAYS})[^\W\d_]*[.,]?\s+(?:,\s*)?)?(?:\b(?:den|de|le|el|il|em)\s+)?"
    rf"\b\d{{1,2}}(?:\.|er\b|º|ª|°)?[\s-]*(?:(?:de|di)\s+|d['’])?\b(?:{_STEMS})[^\W\d_]*\.?"
    rf"(?:[\s,-]*(?:del?\s+)?\d{{4}}\b(?:\s*(?:г\.?|р\.|r\.))?(?:[\s,]*{_AT}\s*{_CLOCK}{_ZONE})?"
    rf"|[\s,]+{_AT}\s*{_CLOCK}{_ZONE}(?:\s+\d{{4}}\b)?))"
)
_CJK = (
    r"\d{4}\s?[年년]\s?\d{1,2}\s?[月월]\s?\d{1,2}\s?[日日일号]"
    r"(?:\s*[(（]?(?:星期|周)?[月火水木金土日一二三四五六월화수목금토일](?:曜日?|요일)?[)）]?)?"
    r"(?:\s*(?:上午|下午|午前|午後|오전|오후)?\s*\d{1,2}\s?[:：時时点시]\s?\d{1,2}"
    r"(?:\s?[:：分분](?:\s?\d{1,2}(?:\s?[秒초])?)?)?)?"
    r"|(?<!\d)\d{1,2}[時时点시]\s?\d{1,2}[分분](?:\s?\d{1,2}[秒초])?"
)
_TIME = (
    rf"(?:{_DAY},?\s+)?(?:"
    rf"(?:{_DATE})(?!\.?\d)(?:[T ,]\s*{_CLOCK}{_ZONE}|T\d{{2}}-\d{{2}}-\d{{2}}(?:[-.]\d+)?Z?)?"
    rf"|(?:19|20)\d{{2}}[01]\d[0-3]\d[-_T]\d{{6}}Z?"
    rf"|\d{{1,2}}(?:st|nd|rd|th)?[ /-]{_MONTH}[ /-]\d{{4}}(?:[ ,:T]+{_CLOCK}{_ZONE})?"
    rf"|\b{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?\b(?:,?\s+{_CLOCK}{_ZONE})?(?:,?\s+\d{{4}}\b)?"
    rf"|{_CLOCK}{_ZONE})(?:\s+\d{{4}}\b)?"
)
_UUID = r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"
_IPV4 = r"(?:(?:25[0-5]|2[0-4]\d|1?\d?\d)(?:\.(?:25[0-5]|2[0-4]\d|1?\d?\d)){3})(?![\d.]*\d)"
_MAC = r"(?:[0-9a-fA-F]{2}:){5}[0-9a-fA-F]{2}"
_GROUP = r"[0-9a-fA-F]{1,4}"
# `[::2]` and `a::b` are none: eight groups, or a doubled colon after a prefix that is in use.
_GROUPS = rf"(?::{_GROUP}){{0,6}}"
_IPV6 = (
    rf"(?:{_GROUP}:){{7}}{_GROUP}"
    rf"|(?:fe[89ab]|f[cd][0-9a-f]|ff[0-9a-f]|[23][0-9a-f]{{2}})[0-9a-f]{_GROUPS}::(?:{_GROUP}{_GROUPS})?"
)
_UNIT = "it|ns|µs|us|ms|s|secs?|min|m|h|[KMGT]i?B|[kKMGT]B?|B|bytes?"
_LASTED = r"(?:\d+[hH]\s?)?\d+m(?:in)?\s?\d+(?:\.\d+)?s"

PIECE = re.compile(
    # Most of any text, so tried first; what may be more (a day before a date) comes below.
    rf"(?P<word>[A-Za-z_]+(?![\w@.+:\\-]|[,.]?\s+(?:\d|den\s|de\s|{_MONTH}\b)))"
    r"|(?P<space>\s+)"
    r"|(?P<media>data:[\w.+-]+/[\w.+-]+;base64,[A-Za-z0-9+/=]+)"
    rf"|(?P<uuid>\b{_UUID}\b)"
    rf"|(?P<mac>\b{_MAC}\b)"
    rf"|(?P<lasted>\b{_LASTED}\b)"
    rf"|(?P<worded>{_CJK}|(?<![\w:.]){_WORDED})"
    rf"|(?P<time>(?<![\w:.]){_TIME}(?![\w:]))"
    rf"|(?P<ipv4>(?<![\w.]){_IPV4})"
    rf"|(?P<ipv6>(?<![\w:])(?:{_IPV6})(?![\w:]))"
    r"|(?P<hex>\b0[xX][0-9a-fA-F]+\b)"
    r"|(?P<path>(?:\b[A-Za-z]:\\+|(?<![/\w])~?/(?!/)|(?<=\w)/)(?:[\w.@%+~-]+[/\\]+)*[\w.@%+~-]+[/\\]?)"
    rf"|(?P<number>(?<![\w.])[-+]?\d+(?:,\d{{3}}(?![\d:]))*(?:\.\d+)*(?=(?:{_UNIT})\b|%|(?!\w)))"
    r"|(?P<words>[^\W_](?:[\w-]|[.+@](?=\w))*|_\w+)"
    r"|(?P<mark>.)",
    re.DOTALL,
)
_LOOKS = {"worded": "time", "words": "word"}


class Atom(NamedTuple):
    """A piece of a text: where it begins, what it is, and what it looks like."""

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


def atoms(text: str, *, spaces: bool = True) -> list[Atom]:
    """The text in pieces, none left out but spaces where asked; escapes and terminal colours count as spaces."""
    return [
        Atom(each.start(), each.group(), _LOOKS.get(look, look))
        for each in PIECE.finditer(masked(text))
        if (look := str(each.lastgroup)) != "space" or spaces
    ]


# ---------------------------------------------------------------- kinds

_DRAWN_IDS = (
    r"(?:\bnonce|\bseed|\btoken|\brandom|session|request|trace"
    r"|(?:session|request|trace|container|run|job|task|build|span)[ _-]?id)"
)
_LABELS = {
    PROCESS: r"(?:\bp?pids?|\btids?|\bprocess[ _-]?ids?|\bthread[ _-]?ids?)",
    PORT: r"(?:(?<!re)(?<!sup)(?<!im)(?<!ex)(?<!pass)(?<!trans)(?<!air)ports?|\blistening on(?: \S+:)?)",
    INODE: r"\b(?:st_)?i-?no(?:de)?s?",
    DURATION: r"(?:duration|elapsed(?:[ _]?time)?|latency|\btook|uptime|\bruntime|\breal|\bsys|time_?taken|\bwall"
    r"|(?:finished|passed|failed|errors?|warnings?|skipped|built|done|completed|compiled|ready|tests?|packages) in)"
    r"(?:_?(?:s|ms|us|ns|secs?|seconds))?",
    SIZE: r"(?:\brss|\bvsz|heap|mem(?:ory)?(?:total|free|available|_?used|_free|[ _]usage)?|\bfree|\bused"
    r"|\bavail(?:able)?|\bswap|\bcached|\bbuffers)(?:_?(?:k?b|mb|gb|bytes|kib|mib))?",
    HOST: r"(?:\bhost(?:[ _]?name)?|\bnode(?:[ _]?name)?|\bserver(?:_?name)?|\bmachine|\bLinux)",
    USER: r"(?:\buser(?:[ _]?name)?|\bowner|\blog(?:in|name|ged in as)|\b[eg]?uid|\bgid|\bgroup|\bwhoami|\bhome)",
    TIME: r"(?:time(?:stamp)?|\bdate|\b[amc]time|_at|\bepoch|\bsince|modified|created|\bnow|\bexpires)"
    r"(?:_?(?:s|ms|us|ns))?",
    RANDOM: rf"(?:{_DRAWN_IDS}|\bhash|\bsha\d*|\bmd5|\betag|checksum|digest)",
    VERSION: r"(?:\bv|version|\bver)",
}  # fmt: skip
# At most a word's end, quotes, and one sign between the label and its value.
_BEFORE = {
    kind: re.compile(rf"{label}[\s:=\"'(\[{{<>#,-]{{0,6}}$", re.IGNORECASE) for kind, label in _LABELS.items()
}
_PLACED = re.compile(r"\b(?:line|lines|ln|col|pos|position|ratio|score|chapter|verse)\W{1,3}$", re.IGNORECASE)
_FAULT = re.compile(r"\s+(?:error|warning|info|note|hint|[✖⚠×✗x])\b|\s+[✖⚠×✗]", re.IGNORECASE)
_RELEASED = re.compile(r"(?:\bv|version\W{0,3}|==|\w-|[a-z]/)$", re.IGNORECASE)
_DRAWN_ID = re.compile(rf"{_DRAWN_IDS}[\s:=\"'(\[{{<>#,-]{{0,6}}$", re.IGNORECASE)
_JOB = re.compile(r"(?:^|\n|\s{3})\[\d+\][+-]?\s+$")  # as a shell says `[1] 4123`
_DAEMON = re.compile(r"(?:^|\s)[A-Za-z][\w./-]*\[$")
_PROCESS_ALONE = re.compile(r"\b(?:process|worker|daemon|killed|child)\W{1,2}$", re.IGNORECASE)
_PROCESS_AFTER = re.compile(
    r"\s*(?:$|[)\].,;:'\"]|(?:exited|started|terminated|finished|died|killed|was|is|has|stopped|running)\b)"
)
_ID = re.compile(r"\b(?:id|ID|Id|key|uid|guid|ref)\W{1,4}$")
_LASTS = re.compile(r"\s?(?:ns|µs|us|ms|s|secs?|seconds?|mins?|minutes?|hours?|h)\b")
_NOT_LASTING = re.compile(
    r"\s?\w+\s+(?:long|of|apart|wide|clips?|videos?|audio|window|interval|timeout|per)\b"
)
_CLOSED = re.compile(r"\s?\w+\s*(?:[)\]]|(?:elapsed|ago)\b|$)")
_WEIGHS = re.compile(r"\s?(?:[KMGT]i?B|[kKMGT]|kB|B|bytes?)\b")
_ADDRESSED = re.compile(
    r"(?:\blocalhost|(?<![\d.])\d{1,3}(?:\.\d{1,3}){3}|\[[0-9a-fA-F:]*:[0-9a-fA-F:]*\]|[a-z]+://[\w.-]+|\btcp|\budp"
    r"|(?:[a-z0-9-]+\.)+(?:com|org|net|io|dev|local|internal|lan|svc|cloud|ai|app|localdomain|test)|\*|(?:^|\s):{2,3}):$"
)
_BEHIND_PORT = re.compile(r"(?!:\d|\.\d)")
_TEMPORARY = re.compile(
    r"(?:^|[/\\])(?:tmp|temp)(?:[/\\]|$)|/var/folders/|\\Temp\\|pytest-of-"
    r"|(?:^|[/\\._-])(?:tmp|temp(?![elort]))[._-]?\w*\d\w*|(?:^|[/\\._-])tmp[._-]?[A-Za-z0-9_]{6,}",
    re.IGNORECASE,
)
_HEX = re.compile(r"(?:[a-z]+\d*[:-])?[0-9a-fA-F]{7,}")
_QUALIFIED = re.compile(r"[A-Za-z][\w-]*(?:\.[A-Za-z][\w-]*){1,}")
_FILE = re.compile(r"\.[A-Za-z]\w{0,4}$")
_EPOCH = re.compile(r"1\d{9}(?:\d{3}|\d{6}|\d{9})?(?:[.,]\d+)?")
_DIGITS = re.compile(r"[-+]?\d[\d.,]*")
_VERSION = re.compile(r"[vV]?\d+(?:\.\d+){2,}(?:[-+.]?[a-z]+\w*(?:\.\w+)*)?|[vV]\d+(?:\.\d+)+")
_LOCATED = re.compile(r"[\w.-]@[\w.-]+$|\w@$")
_PROMPT_HOST = re.compile(r"[\w.-]+@[\w.-]+")
_AT_PROMPT = re.compile(r"\s?(?::\s?[~/]|[~/]\S*\]?[#$%]|\s+[~/]\S*\]?[#$%]|\s+[\w.-]+\][#$%])")
_DRAWN = re.compile(
    r"(?:tmp|temp(?![elort]))[._-]?\w*\d|tmp[._-]?\w{6,}|[0-9a-f]{8,}|/var/folders/|pytest-of-", re.IGNORECASE
)
# Values inside a longer name: what remains must be equal.
_INSIDE: tuple[tuple[str, re.Pattern[str]], ...] = (
    (UUID, re.compile(_UUID)),
    (
        TIME,
        re.compile(
            r"(?<!\d)(?:19|20)\d{2}[-_.]?[01]\d[-_.]?[0-3]\d"
            r"(?:[-_T.]?[0-2]\d[-_:.]?[0-5]\d(?:[-_:.]?[0-5]\d)?)?(?!\d)"
        ),
    ),
    (TIME, re.compile(r"(?<!\d)1\d{9}(?:\d{3})?(?!\d)")),
    (NETWORK, re.compile(rf"(?<![\d.]){_IPV4}")),
)
_PLAIN = {
    "uuid": UUID, "mac": NETWORK, "lasted": DURATION, "time": TIME, "ipv4": NETWORK, "ipv6": NETWORK, "media": IMAGE
}  # fmt: skip


def kind_of(one: str, other: str, look: str, before: str, after: str) -> str:
    """The kind of two pieces that differ, with the text of their line `before` and `after` the first.

    `look`: what both look like, a group of PIECE; "word" where they do not look alike.
    """
    if look in _PLAIN:
        return _PLAIN[look]
    before, after = before.replace("\\", ""), after.replace("\\", "")
    if look == "hex":
        return MEMORY if min(len(one), len(other)) >= 6 else NUMBER
    for kind, pattern in _INSIDE:
        if (
            look in ("path", "word")
            and pattern.search(one)
            and pattern.sub("", one) == pattern.sub("", other)
        ):
            return kind
    if look == "path":
        return TEMPORARY if _TEMPORARY.search(one) and _TEMPORARY.search(other) else PATH
    if _DIGITS.fullmatch(one) and _DIGITS.fullmatch(other):
        return _of_numbers(one, other, before, after)
    if _TEMPORARY.search(one) and _TEMPORARY.search(other):
        return TEMPORARY
    if "@" in one and "@" in other:
        return HOST if one.partition("@")[0] == other.partition("@")[0] else USER
    if _VERSION.fullmatch(one) and _VERSION.fullmatch(other):
        return VERSION
    if _BEFORE[HOST].search(before) or _LOCATED.search(before):
        return HOST
    if _random(one, other) or (_ID.search(before) and any(map(str.isdigit, one + other))):
        return RANDOM
    if _BEFORE[USER].search(before) or after.startswith("@"):
        return USER
    if _BEFORE[RANDOM].search(before):
        return RANDOM
    if _QUALIFIED.fullmatch(one) and _QUALIFIED.fullmatch(other) and not _FILE.search(one):
        return HOST
    return CONTENT


def _of_numbers(one: str, other: str, before: str, after: str) -> str:
    if (
        _BEFORE[PROCESS].search(before)
        or _JOB.search(before)
        or (_DAEMON.search(before) and after[:2] == "]:")
    ):
        return PROCESS
    if len(one) > 2 and _PROCESS_ALONE.search(before) and _PROCESS_AFTER.match(after):
        return PROCESS
    if _BEFORE[PORT].search(before) or (_ADDRESSED.search(before) and _BEHIND_PORT.match(after)):
        return PORT
    if _BEFORE[INODE].search(before):
        return INODE
    if _EPOCH.fullmatch(one) and _EPOCH.fullmatch(other):
        return TIME
    if _BEFORE[RANDOM].search(before):
        return RANDOM
    if _WEIGHS.match(after):
        return SIZE
    if _LASTS.match(after):
        return NUMBER if _NOT_LASTING.match(after) else DURATION
    if _BEFORE[VERSION].search(before) or (_VERSION.fullmatch(one) and _VERSION.fullmatch(other)):
        return VERSION
    for kind in (DURATION, TIME, SIZE, USER):
        if _BEFORE[kind].search(before):
            return kind
    return NUMBER


def _random(one: str, other: str) -> bool:
    """Whether both look drawn by chance: hexadecimal digits, or letters and digits mixed, of one length."""
    if _HEX.fullmatch(one) and _HEX.fullmatch(other):
        return any(each.isdigit() for each in one + other)
    mixed = (each for each in (one, other) if re.search(r"\d", each) and re.search(r"[A-Za-z]", each))
    numbered = re.sub(r"\d{1,3}", "", one) == re.sub(r"\d{1,3}", "", other)  # chapter12 and chapter13
    return len(one) == len(other) >= 8 and not numbered and len(list(mixed)) == 2


# ---------------------------------------------------------------- what no call can have changed


def _time_is_sure(text: str, before: str, after: str) -> bool:
    if _DIGITS.fullmatch(text):
        return bool(_EPOCH.fullmatch(text))
    if re.fullmatch(r"\d{1,2}:\d{2}", text):  # or a place in a file, a score, a verse
        return len(text) == 5 and not _PLACED.search(before) and not _FAULT.match(after)
    return True


def _duration_is_sure(text: str, before: str, after: str) -> bool:
    if _NOT_LASTING.match(after):
        return False
    exact = "." in text or before.endswith(".") or re.match(r"\s?[mµun]s\s*\)", after)
    return bool(_BEFORE[DURATION].search(before) or "m" in text or (exact and _CLOSED.match(after)))


def _host_is_sure(text: str, before: str, after: str) -> bool:
    prompt = bool(_PROMPT_HOST.fullmatch(text) or re.search(r"\w@$", before)) and bool(
        _AT_PROMPT.match(after)
    )
    return prompt or bool(re.search(r"\bhost(?:[ _]?name)?\W{1,4}$", before, re.IGNORECASE))


def _name_is_sure(text: str, before: str, after: str) -> bool:
    return bool(_DRAWN.search(text))


def _id_is_sure(text: str, before: str, after: str) -> bool:
    drawn = len(text) >= 6 and any(map(str.isdigit, text))
    return drawn and bool(
        _DRAWN_ID.search(before.replace("\\", ""))
    )  # a hash is of what a call may have written


def _always(text: str, before: str, after: str) -> bool:
    return True


_SURE: dict[str, Callable[[str, str, str], bool]] = {
    TIME: _time_is_sure,
    DURATION: _duration_is_sure,
    PROCESS: _always,
    PORT: _always,
    INODE: _always,
    MEMORY: lambda text, before, after: len(text) >= 10,
    NETWORK: lambda text, before, after: not _RELEASED.search(before),
    UUID: _always,
    TEMPORARY: _name_is_sure,
    HOST: _host_is_sure,
    RANDOM: _id_is_sure,
}
# The kinds that may be volatile also after two runs went separate ways.
SURE = frozenset(_SURE)


def is_sure(kind: str, text: str, before: str, after: str) -> bool:
    """Whether no call of the model's can have changed such a piece of text in its line."""
    return kind in _SURE and _SURE[kind](text, before, after)


_PLACEHOLDER = re.compile("|".join(f"<{kind}>" for kind in sorted(SURE)))


def strip(text: str, kinds: frozenset[str] = SURE) -> str:
    """The text with `<time>`, `<process id>` and so on in place of what looks volatile, for a harness to send on.

    Only what no call of a model's can have changed is replaced: sizes, versions, numbers, orderings and words stay.
    A date in a file's own content is replaced too: strip what commands print, not what files hold. Stripping twice
    changes nothing more. ValueError for a kind that cannot be told from one text alone.
    """
    if unknown := sorted(set(kinds) - SURE):
        raise ValueError(
            f"cannot be told from one text: {', '.join(unknown)}; can be: {', '.join(sorted(SURE))}"
        )
    shown = _PLACEHOLDER.sub(lambda found: "·" * len(found.group()), masked(text))
    parts: list[str] = []
    done = 0
    for start, piece, look in atoms(shown, spaces=False):
        if look == "mark":
            continue
        end = start + len(piece)
        line = shown.rfind("\n", max(0, start - AROUND), start) + 1 or max(0, start - AROUND)
        before, after = shown[line:start], shown[end : end + AROUND]
        kind = kind_of(piece, piece, look, before, after)
        if kind in kinds and (
            is_sure(kind, piece, before, after) or (kind == RANDOM and _HEX.fullmatch(piece))
        ):
            if kind == DURATION and (unit := _LASTS.match(after)):
                end += unit.end()
            parts += [text[done:start], f"<{kind}>"]
            done = end
    return "".join(parts) + text[done:]

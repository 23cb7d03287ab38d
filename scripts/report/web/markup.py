"""The Markdown that this project's own pages are written in, as HTML: headings, tables, lists, paragraphs.

No more than they use, and everything that is not known is text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence

from markupsafe import Markup, escape

from scripts.report.web.ranks import ranks_of

Block = tuple[str, list[str]]

_COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
_HEADING = re.compile(r"(#{1,6}) +(.*)")
_ITEM = re.compile(r"[-*] +(.*)|\d+\. +(.*)")
_RULE = re.compile(r"\|?[ :|-]+\|?")
_INLINE = re.compile(
    r"`(?P<code>[^`]+)`|\*\*(?P<strong>.+?)\*\*|(?<![\w*])\*(?P<em>[^*\s][^*]*?)\*(?![\w*])"
    r"|!\[(?P<alt>[^\]]+)\]\((?P<image>[^)\s]+)\)|\[(?P<label>[^\]]+)\]\((?P<address>[^)\s]+)\)"
)


def title_of(text: str) -> str:
    """The page's first heading, without its marks; empty where it has none."""
    found = next((match for line in text.splitlines() if (match := _HEADING.fullmatch(line))), None)
    return re.sub(r"[`*]", "", found[2]) if found else ""


def render_markdown(text: str, *, level: int = 1, title: bool = True) -> Markup:
    """A page as HTML; its first heading is of `level`, the others below it, and is left out without `title`."""
    parts = []
    for kind, lines in _blocks(_COMMENT.sub("", text).splitlines()):
        if kind == "heading" and not title:
            title = True
            continue
        parts.append(_RENDER[kind](lines, level))
    return Markup("\n").join(parts)


def render_inline(text: str) -> Markup:
    """A piece of text with its code, bold and slanted words and links."""
    parts: list[Markup] = []
    at = 0
    for match in _INLINE.finditer(text):
        parts.append(escape(text[at : match.start()]))
        at = match.end()
        if match["code"] is not None:
            parts.append(Markup("<code>{}</code>").format(match["code"]))
        elif match["alt"] is not None:
            parts.append(_image(match["alt"], match["image"]))
        elif match["label"] is not None:
            parts.append(_link(match["label"], match["address"]))
        else:
            name = "strong" if match["strong"] is not None else "em"
            parts.append(Markup("<{0}>{1}</{0}>").format(name, render_inline(match[name])))
    return Markup("").join([*parts, escape(text[at:])])


def render_table(
    names: Sequence[str],
    rows: Sequence[Sequence[str | Markup]],
    ranks: Sequence[Sequence[int | None]],
    kind: str = "",
) -> Markup:
    """A table that can be sorted; `ranks`: column by column the place of each row, None where it goes last."""
    header = Markup("").join(
        Markup('<th scope="col"><button type="button">{}</button></th>').format(name) for name in names
    )
    body = Markup("\n").join(
        Markup("<tr>{}</tr>").format(
            Markup("").join(
                Markup("<td{}>{}</td>").format(_attribute(ranks[column][index]), value)
                for column, value in enumerate(row)
            )
        )
        for index, row in enumerate(rows)
    )
    return Markup(
        '<div class="scroll" tabindex="0"><table class="sortable {}"><thead><tr>{}</tr></thead>'
        "<tbody>\n{}\n</tbody></table></div>"
    ).format(kind, header, body)


def _attribute(rank: int | None) -> Markup:
    return Markup("") if rank is None else Markup(' data-rank="{}"').format(rank)


def _link(label: str, address: str) -> Markup:
    inner = render_inline(label)
    if not address.startswith(("https://", "http://", "#")):
        return inner  # a file beside the page's source: the page goes without it
    return Markup('<a href="{}">{}</a>').format(address, inner)


def _image(words: str, address: str) -> Markup:
    """An image that is in the page itself; of any other the words that stand for it."""
    if not address.startswith("data:image/"):
        return escape(words)
    return Markup('<img alt="{}" src="{}">').format(words, address)


def _blocks(lines: Iterable[str]) -> Iterator[Block]:
    """The page cut into blocks: heading, table, list, quote, code, text."""
    kind, held = "", list[str]()
    for line in lines:
        if kind == "code":
            if line.startswith("```"):
                yield kind, held
                kind, held = "", []
            else:
                held.append(line)
            continue
        found = _kind(line, kind)
        if found != kind or found == "heading":
            if held:
                yield kind, held
            held = []
        kind = found
        if kind and not line.startswith("```"):
            held.append(line)
    if held:
        yield kind, held


def _kind(line: str, before: str) -> str:
    if not line.strip():
        return ""
    if line.startswith("```"):
        return "code"
    if _HEADING.fullmatch(line):
        return "heading"
    if line.startswith("|"):
        return "table"
    if line.startswith(">"):
        return "quote"
    if _ITEM.fullmatch(line) or (before == "list" and line.startswith(" ")):
        return "list"
    return "text"


def _heading(lines: list[str], level: int) -> Markup:
    match = _HEADING.fullmatch(lines[0])
    assert match is not None
    number = min(6, len(match[1]) + level - 1)
    return Markup("<h{0}>{1}</h{0}>").format(number, render_inline(match[2]))


def _text(lines: list[str], level: int) -> Markup:
    return Markup("<p>{}</p>").format(render_inline(" ".join(line.strip() for line in lines)))


def _list(lines: list[str], level: int) -> Markup:
    items: list[str] = []
    for line in lines:
        match = _ITEM.fullmatch(line)
        if match:
            items.append(match[1] or match[2])
        else:
            items[-1] += f" {line.strip()}"
    name = "ol" if lines[0][0].isdigit() else "ul"
    inner = Markup("\n").join(Markup("<li>{}</li>").format(render_inline(item)) for item in items)
    return Markup("<{0}>\n{1}\n</{0}>").format(name, inner)


def _quote(lines: list[str], level: int) -> Markup:
    inner = render_markdown("\n".join(line[1:].removeprefix(" ") for line in lines), level=level)
    return Markup("<blockquote>{}</blockquote>").format(inner)


def _code(lines: list[str], level: int) -> Markup:
    return Markup('<pre class="scroll"><code>{}</code></pre>').format("\n".join(lines))


def _table(lines: list[str], level: int) -> Markup:
    rows = [_values(line) for line in lines]
    if len(rows) < 2 or not _RULE.fullmatch(lines[1]):
        return _text(lines, level)
    names, found = rows[0], rows[2:]
    wide = [(row + [""] * len(names))[: len(names)] for row in found]
    ranks = [ranks_of(row[column] for row in wide) for column in range(len(names))]
    return render_table(
        [re.sub(r"[`*]", "", name) for name in names],
        [[render_inline(value) for value in row] for row in wide],
        ranks,
    )


def _values(line: str) -> list[str]:
    parts = re.split(r"(?<!\\)\|", line.strip().removeprefix("|").removesuffix("|"))
    return [part.strip().replace("\\|", "|") for part in parts]


_RENDER: dict[str, Callable[[list[str], int], Markup]] = {
    "heading": _heading,
    "table": _table,
    "list": _list,
    "quote": _quote,
    "code": _code,
    "text": _text,
}

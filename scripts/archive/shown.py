"""What the tables of report.html say, read back from the page."""

from __future__ import annotations

from html.parser import HTMLParser


def shown_tables(page: str) -> dict[str, list[list[str]]]:
    """The sortable tables of the page by their kind (`finding`, `details`): rows of what a reader sees, names first.

    Were there several of a kind, the rows of all are there, one after the other.
    """
    reader = _Reader()
    reader.feed(page)
    reader.close()
    return reader.tables


class _Reader(HTMLParser):
    """Collects the text of each cell of the tables that have a kind."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self._rows: list[list[str]] | None = None
        self._open = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Begin a table, a row or a cell."""
        if tag == "table":
            classes = (dict(attrs).get("class") or "").split()
            kind = classes[1] if classes[:1] == ["sortable"] and len(classes) == 2 else None
            self._rows = self.tables.setdefault(kind, []) if kind else None
        elif self._rows is not None and tag == "tr":
            self._rows.append([])
        elif self._rows is not None and tag in ("td", "th") and self._rows:
            self._rows[-1].append("")
            self._open = True

    def handle_endtag(self, tag: str) -> None:
        """End a table or a cell."""
        if tag in ("td", "th"):
            self._open = False
        elif tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        """Add to the cell that is open."""
        if self._open and self._rows:
            self._rows[-1][-1] += data

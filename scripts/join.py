"""Join the rows of several archives, other people's among them, in one table: each row with its source.

    python -m scripts.join mine.zip hers.zip --output results/joined.md

Each archive (results/provenance.zip, made by snakemake archive) is judged again from its own transcripts first; one in
which anything does not follow from what was measured is refused.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import DataError
from scripts.comparison.joined import read_contribution, render_joined


def main(
    archives: Annotated[tuple[Path, ...], "the zips"],
    /,
    *,
    output: Annotated[Path | None, "where the table goes; else it is printed"] = None,
) -> None:
    """Join them."""
    if len(set(archives)) < len(archives):
        raise DataError("an archive is named twice", remedy="name each once")
    found = []
    for number, path in enumerate(archives, start=1):
        print(f"{number} of {len(archives)}: {path} is judged again", file=sys.stderr, flush=True)
        found.append(read_contribution(path))
    page = render_joined(found)
    if output is None:
        print(page, end="")
    else:
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_text(page, encoding="utf-8")
        print(f"{output}: {sum(len(each.entries) for each in found)} rows", file=sys.stderr)


if __name__ == "__main__":
    run(main)

"""Compare two results: same bits or not, where they first part, how far apart they are, and why that may be.

    python -m scripts.compare results/cells/MODEL/bf16/ENGINE/base results/cells/MODEL/q4_k_m/ENGINE/base
    python -m scripts.compare before/provenance.zip results

A and B are each a cell's folder, a folder with results/cells, a provenance.zip or a folder of results/reference: other
engines, versions, precisions or machines, or one deployment on two days. Cells of one name are compared, and cells that
differ in their engine alone. Cells that were asked another workload, or got other prompts, are refused by name.

--force feeds A's first trajectory to B's engine, once a mode, where both were not fed one yet: B's engine and weights
must be here, or its server must run and take what it is fed. A's engine is fed it too, where its passes are not there.

Exit 0: what could be compared was. 1: an error. 2: nothing could be compared. Whether something changed is not the exit
code's to say: python -m scripts.check is for that.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Literal

from scripts.common.command import run
from scripts.comparison.page import render_comparisons
from scripts.comparison.results import compare_results


def main(
    a: Annotated[Path, "the first result"],
    b: Annotated[Path, "the second result"],
    /,
    *,
    force: Annotated[bool, "feed A's trajectory to B's engine where that was not done"] = False,
    format_: Annotated[Literal["text", "json"], "text: a page in Markdown; json: all figures"] = "text",
) -> int:
    """Compare, print the page."""
    found = compare_results(a, b, force=force)
    if format_ == "json":
        print(json.dumps(found.as_file(), indent=2, ensure_ascii=False, sort_keys=True))
    else:
        print(render_comparisons(found), end="")
    if not found.pairs:
        for cell, why in found.refused.items():
            print(f"not compared: {cell}: {why}", file=sys.stderr)
        print("nothing could be compared", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    run(main)

"""Verify an archive that write_archive made: of the results it needs the zip and nothing else. Exit 1 where anything
disagrees.

Every sha256 is computed again, every verdict from the transcripts, logprobs and forced passes, and from these every
table, those that results/report.html shows among them; of its pictures and texts the sha256 is all that is looked at.
Each disagreement is a line of its own. A reader who has only the zip has this command in it:

    python -m zipfile -e provenance.zip folder && cd folder
    python -m pip install --require-hashes -r envs/workflow.lock
    python -m scripts.verify_archive ../provenance.zip

Of that lock it needs jsonschema, msgspec, numpy, pandas, PyYAML, rocrate, scipy and tabulate, with what these need.
"""

from __future__ import annotations

import gc
import sys
from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.common.errors import DataError


def main(archive: Annotated[Path, "the zip: results/provenance.zip"], /) -> int:
    """Verify, say what was found."""
    try:
        from scripts.archive.verify import verify_archive
    except ModuleNotFoundError as error:
        raise DataError(
            f"the package {error.name} is not installed here",
            remedy="python -m pip install --require-hashes -r envs/workflow.lock (the archive has this file too)",
        ) from error
    gc.disable()  # as summarise_cell does, and for the same reason
    found = verify_archive(archive)
    for each in found.disagreements:
        print(each)
    if found.other_code:
        print(
            f"note: {len(found.other_code)} of the modules that judged here are not those in the archive"
            f" ({', '.join(found.other_code[:3])}{', …' if len(found.other_code) > 3 else ''});"
            " to judge by its own, unpack it and give this command in its folder",
            file=sys.stderr,
        )
    counts = found.counts
    print(
        f"{archive}: {found.files:,} files; judged again: {counts.cells} cells with {counts.sessions} sessions,"
        f" {counts.replays} replays and {counts.forced} forced replays, {counts.pages} pages;"
        f" {_count(len(found.disagreements))}"
    )
    print(f"sha256 of the whole archive: {found.sha256}")
    return 1 if found.disagreements else 0


def _count(disagreements: int) -> str:
    if not disagreements:
        return "everything agrees"
    return f"{disagreements:,} disagreement" + ("" if disagreements == 1 else "s")


if __name__ == "__main__":
    run(main)

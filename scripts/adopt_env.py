"""Take a Python that is already there for a locked environment: on a machine without a network, say.

    python -m scripts.adopt_env envs/vllm-cuda.lock --packages /opt/site --packages /opt/torch/site-packages

A virtual environment is made that sees these folders of packages, the first one first. Every package that the lock pins
is looked up: one of another version is refused unless --allow-other is given, one that is missing unless
--allow-missing is. What is missing or other is written into the engine's record, and so into every session.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scripts.common.command import run
from scripts.provenance.adopted import adopt_environment


def main(
    lock: Annotated[Path, "a file of envs/"],
    /,
    *,
    packages: Annotated[list[Path], "a site-packages folder; again for each"],
    allow_other: Annotated[bool, "take packages of other versions"] = False,
    allow_missing: Annotated[bool, "do without packages that are not there"] = False,
) -> None:
    """Adopt it."""
    adopt_environment(lock, packages, allow_other=allow_other, allow_missing=allow_missing)


if __name__ == "__main__":
    run(main)

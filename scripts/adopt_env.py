"""Take a Python that is already there for a locked environment: on a machine without a network, say.

    python -m scripts.adopt_env envs/vllm-cuda.lock --packages /opt/site --packages /opt/torch/site-packages

A virtual environment is made that sees these folders of packages, the first one first. Every package that the lock pins
is looked up: one of another version is refused unless --allow-other is given, one that is missing unless
--allow-missing is. What is missing or other is written into the engine's record, and so into every session.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from scripts.common.errors import run_command
from scripts.provenance.adopted import adopt_environment


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.adopt_env",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("lock", type=Path, metavar="LOCK", help="a file of envs/")
    parser.add_argument(
        "--packages",
        type=Path,
        action="append",
        required=True,
        metavar="FOLDER",
        help="a site-packages folder",
    )
    parser.add_argument("--allow-other", action="store_true", help="take packages of other versions")
    parser.add_argument("--allow-missing", action="store_true", help="do without packages that are not there")
    given = parser.parse_args()
    adopt_environment(
        given.lock, given.packages, allow_other=given.allow_other, allow_missing=given.allow_missing
    )


if __name__ == "__main__":
    run_command(main)

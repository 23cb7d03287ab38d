"""Show a workflow on one screen; the Snakefile starts it where it prints to a terminal, and nobody else needs to."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from scripts.common.errors import run_command
from scripts.screen.show import show


def main() -> None:
    """Parse arguments, draw until standard input ends."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.show_progress",
        description=__doc__,
        epilog="It reads a line of JSON (the plan) and then what the workflow prints from standard input, "
        "and draws on standard output, a terminal.",
    )
    parser.parse_args()
    show(sys.stdin.fileno(), sys.stdout.fileno(), Path())


if __name__ == "__main__":
    run_command(main)

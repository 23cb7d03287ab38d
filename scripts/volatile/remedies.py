"""What to change in a harness so that a kind of volatile state does not reach the model."""

from __future__ import annotations

import re

from scripts.volatile import kinds

STRIP = "or send it through `scripts.volatile.strip`"

# Of a kind: the command that shows it, as a call's arguments have it, and the change; the first that fits counts.
_OF_COMMANDS: tuple[tuple[str, str, str], ...] = (
    (kinds.TIME, r"\bls\b", "`ls` with `--time-style=+`, or without `-l`"),
    (kinds.TIME, r"\bgit\b", "fixed `GIT_AUTHOR_DATE` and `GIT_COMMITTER_DATE`, or `git log --format=%s`"),
    (kinds.TIME, r"\bstat\b", "`stat --format='%n %s %A'`, without times"),
    (kinds.TIME, r"\b(?:tar|unzip|zipinfo)\b", "names alone: `tar -t` without `-v`, `unzip -Z1`"),
    (kinds.TIME, r"\b(?:docker|podman|kubectl)\b", "`--format` without the columns that tell ages and times"),
    (kinds.TIME, r"\bps\b", "`ps -o comm=`, without start and CPU times"),
    (kinds.TIME, r"\bcurl\b", "`curl` without `-i` and `-v`, or without the header `Date`"),
    (kinds.TIME, r"\b(?:date|now|time)\b", "a fixed clock for the run (`faketime`), or the date from the task"),
    (kinds.DURATION, r"\b(?:pytest|unittest)\b", "cut the seconds off: `| sed -E 's/ in [0-9.]+s.*//'`"),
    (kinds.DURATION, r"\b(?:time|hyperfine)\b", "do not time what the model runs"),
    (kinds.ORDER, r"\bls\b", "`ls` without `-U`, `-f` or `-t`, with `LC_ALL=C`"),
    (kinds.ORDER, r"\bfind\b", "`find … | sort`"),
    (kinds.ORDER, r"\brg\b", "`rg --sort path`"),
    (kinds.ORDER, r"\bgrep\b", "`grep -r … | sort`"),
    (kinds.ORDER, r"\bpython\b", "`PYTHONHASHSEED=0`, `sorted(…)` around sets and `os.listdir`"),
    (kinds.RANDOM, r"\bgit\b", "fixed author, `GIT_AUTHOR_DATE` and `GIT_COMMITTER_DATE`: then the hashes are fixed"),
    (kinds.INODE, r"\bls\b", "`ls` without `-i`"),
    (kinds.SIZE, r"\b(?:df|free|top|vmstat)\b", "leave free memory and disk out of what the tool returns"),
)  # fmt: skip
_OF_PROMPTS = {
    kinds.TIME: "take the date from the task or leave it out of the prompt; the clock changes every run",
    kinds.PATH: "run in one fixed path (a bind mount), and name that in the prompt",
    kinds.TEMPORARY: "run in one fixed path (a bind mount), and name that in the prompt",
    kinds.ORDER: "put it together in a fixed, sorted order",
}
_OF_KINDS = {
    kinds.TIME: f"leave the time out of what the tool returns, {STRIP}",
    kinds.DURATION: f"leave out how long it took, {STRIP}",
    kinds.PROCESS: f"leave the process id out, {STRIP}",
    kinds.PORT: "give the server a fixed port",
    kinds.INODE: "leave the inode out",
    kinds.MEMORY: f"a repr without the address, or `setarch -R`; {STRIP}",
    kinds.NETWORK: "a fixed address in the container's network (`--ip`, `--mac-address`)",
    kinds.UUID: f"a fixed seed, or ids that count from 1; {STRIP}",
    kinds.TEMPORARY: f"a fixed path in place of `mktemp` and `tempfile`, {STRIP}",
    kinds.PATH: "run in one fixed path (a bind mount)",
    kinds.RANDOM: f"a fixed seed, or ids that count from 1; {STRIP}",
    kinds.HOST: "a fixed host name (`docker run --hostname`), or a fixed `PS1`",
    kinds.USER: "a fixed user in the container",
    kinds.SIZE: "leave free memory and disk out of what the tool returns",
    kinds.VERSION: "pin the version",
    kinds.ORDER: "sort what the tool returns; parallel results in the order of their calls",
    kinds.IMAGE: "one renderer, fonts, window and clock for all runs; or describe the image in text",
    kinds.SPACE: "fixed line ends and `COLUMNS`; write columns without padding",
    kinds.NUMBER: "find what the number depends on: equal calls gave two",
    kinds.CONTENT: "find what it depends on: equal calls gave two",
}


def remedy_of(kind: str, arguments: str, *, prompt: bool = False) -> str:
    """How to change the tool that was called with these arguments, or the prompt."""
    if prompt:
        return _OF_PROMPTS.get(
            kind, "the prompt has to be the same in every run: take this out of it, or fix it"
        )
    for known, command, change in _OF_COMMANDS:
        if kind == known and re.search(command, arguments):
            return change
    return _OF_KINDS[kind]

"""Whether an engine that ended before it was ready refused what was asked of it, as far as its log shows.

A refusal is told by its sentence: the last error of the log that is none of a wrapper (which speaks of another error),
and names an argument or variable that the cell's variant sets, or the value of one. An error about memory, ports or
devices is none, whatever it names, nor is the end of an engine that was killed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

from scripts.common.words import bare
from scripts.records.base import Value
from scripts.records.session import Refusal

SENTENCE_LENGTH = 240
"""Characters of a sentence that are kept."""
# What stands before an error in a log: the process, the level, the time, the file.
_PREFIX = re.compile(
    r"^(?:\([^()]*pid=\d+\) )?(?:(?:ERROR|CRITICAL|WARNING|INFO) [\d :,.-]+(?:\[[^]]*\] ?)?)?(?:\[[^]]*\] )?"
)
# An error's sentence: an exception's last line, what argparse or llama.cpp say.
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception)(?:: |$)|[\w./-]+: error: |error: |error while handling )")
_WRAPPER = re.compile(
    r"see (?:the )?(?:root cause|stack trace)|initialization failed|background process|^[\w.]*SystemExit",
    re.IGNORECASE,
)
_RESOURCE = re.compile(
    r"out of memory|\bOOM\b|not enough memory|insufficient memory|no available memory|free memory|KV cache is needed|"
    r"gpu_memory_utilization|address already in use|no space left|CUDA error|CUDA driver|NCCL error|timed out|"
    r"no such file|permission denied|connection|MemoryError",
    re.IGNORECASE,
)
# What a log says of an argument that it goes on without. The names that follow decide whose it is.
_IGNORED = re.compile(
    r"\bignor(?:ed|ing)\b|\bcannot use\b|\bcan't use\b|no effect|ineffective|\boverrid(?:es|den|ing)\b|falling back|"
    r"\bdisabling (?:it|this)\b|is not supported.*(?:using|instead|disabl)",
    re.IGNORECASE,
)
_ENGINES = ("vllm", "sglang", "ggml", "llama")
_VERBS = ("use", "enable", "disable", "force", "no", "allow")
_SHORTEST = 4  # letters of a name that can be found in a sentence without being there by chance


def last_error(log: str) -> str | None:
    """The last sentence of an error in a log that speaks of no other error; None where there is none."""
    lines = [_PREFIX.sub("", line.rstrip()) for line in log.splitlines()]
    for number in range(len(lines) - 1, -1, -1):
        if not _ERROR.match(lines[number]) or _WRAPPER.search(lines[number]):
            continue
        # pydantic says what is wrong in the lines that follow, each indented.
        more = []
        for line in lines[number + 1 :]:
            if not line.startswith("  ") or line.lstrip().startswith(("File ", "For further")):
                break
            more.append(line.strip())
        return _cut(" ".join([lines[number].strip(), *more]).partition(" [type=")[0])
    return None


def of_resources(sentence: str) -> bool:
    """Whether a sentence of an error speaks of memory, ports or devices, which is no word on what was asked."""
    return _RESOURCE.search(sentence) is not None


def find_refusal(log: str, ended: str, asked: Mapping[str, Value]) -> Refusal | None:
    """The refusal in the log of an engine that `ended` so before it was ready; None where it failed otherwise.

    `asked`: the arguments and variables that the cell's variant sets.
    """
    sentence = last_error(log)
    if sentence is None or of_resources(sentence) or not re.fullmatch(r"exit status [1-9]\d?", ended):
        return None
    named = [name for name, value in asked.items() if _is_named(name, value, sentence)]
    return Refusal(sentence=sentence, named=named, ended=ended) if named else None


def find_ignored(log: str, asked: Mapping[str, Value]) -> dict[str, str]:
    """The `asked` arguments and variables that the log says are not heeded, each with the sentence that says so."""
    sentences = [
        text
        for line in log.splitlines()
        if _IGNORED.search(line) and not _ERROR.match(text := _PREFIX.sub("", line.strip()))
    ]
    found = {}
    for name, value in asked.items():
        if (value is None) or value is False:
            continue
        for sentence in sentences:
            if _is_named(name, value, sentence):
                found[name] = _cut(sentence)
                break
    return found


def _cut(sentence: str) -> str:
    """A sentence as it is kept: without the folder that the project lies in, and not too long."""
    text = sentence.replace(f"{Path.cwd()}{os.sep}", "")
    return text if len(text) <= SENTENCE_LENGTH else f"{text[: SENTENCE_LENGTH - 1]}…"


def _is_named(name: str, value: Value, sentence: str) -> bool:
    """Whether a sentence names an argument or variable or the value it was given, or has all words of the name."""
    said = bare(sentence)
    words = {each for each in name.lower().split("_") if each and each not in (*_ENGINES, *_VERBS)}
    there = len(words) > 1 and words <= set(re.findall(r"[a-z0-9]+", sentence.lower()))
    return there or any(each in said for each in _names(name, value))


def _names(name: str, value: Value) -> list[str]:
    known = [bare(name)]
    known += [known[0].removeprefix(engine) for engine in _ENGINES if known[0].startswith(engine)]
    if isinstance(value, str):
        known.append(bare(value))
    return [each for each in known if len(each) >= _SHORTEST]

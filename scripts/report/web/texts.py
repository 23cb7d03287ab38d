"""The two texts around a first difference, side by side, with what each replay gave the two candidates."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from scripts.common.files import canonical_json
from scripts.records.cell import Difference
from scripts.records.transcript import Turn

BEFORE, AFTER, MARKED = 48, 32, 40  # ids shown before a difference, after it, and of it
CHARACTERS = 4  # a token, where text is cut and not ids
ENDED = "∎"
Decode = Callable[[Sequence[int]], str]
Turns = Mapping[tuple[str, int], Turn]


@dataclass(frozen=True)
class Side:
    """One replay's text: what precedes the difference, the difference, what follows."""

    before: str
    mark: str
    after: str


@dataclass(frozen=True)
class Candidate:
    """A token that stood for choice, and its probability in the reference and in the other replay, if listed."""

    text: str
    reference: float | None
    other: float | None


@dataclass(frozen=True)
class Pair:
    """A first difference in two texts. `found`: cell.json's entry. `replays`: those that read so, session and number.

    `what`: what differs, in words.
    """

    found: Difference
    replays: list[tuple[int, int]]
    what: str
    reference: Side
    other: Side
    candidates: list[Candidate]


def read_decoder(quant: Path) -> Decode | None:
    """Ids to text by the tokenizer of a quant's folder; None where it has none."""
    path = quant / "tokenizer.json"
    if not path.is_file():
        return None
    tokenizer = Tokenizer.from_file(str(path))
    return lambda ids: str(tokenizer.decode(list(ids), skip_special_tokens=False))


def pair_texts(found: Difference, reference: Turns, other: Turns, decode: Decode | None) -> Pair:
    """The texts around one difference of cell.json, from both replays' turns by scenario and turn."""
    spot = (found.scenario, found.turn)
    mine, theirs = reference.get(spot), other.get(spot)
    if mine is None or theirs is None:
        what = "one of the two has a turn more"
        sides = [_whole_turn(turn, decode) for turn in (mine, theirs)]
    elif found.kind == "model":
        what = "the tokens generated"
        offset = found.position - _generated_before(reference, spot)
        sides = _generated(mine, theirs, offset, decode)
    elif mine.appended_ids != theirs.appended_ids:
        what = "the prompt"
        sides = _unequal_middle(mine.appended_ids, theirs.appended_ids, decode)
    else:
        what, sides = _unequal_words(mine, theirs)
    return Pair(
        found=found,
        replays=[(found.session, found.replay)],
        what=what,
        reference=sides[0],
        other=sides[1],
        candidates=_candidates(found, decode) if found.kind == "model" else [],
    )


def merge_pairs(pairs: Sequence[Pair]) -> list[Pair]:
    """Pairs that read the same as one, with all their replays, in the order of the first of each."""
    merged: dict[tuple[object, ...], Pair] = {}
    for pair in pairs:
        found = pair.found
        place = (found.scenario, found.turn, found.kind, found.position)
        key = (*place, pair.reference, pair.other, tuple(pair.candidates))
        known = merged.get(key)
        merged[key] = pair if known is None else replace(known, replays=[*known.replays, *pair.replays])
    return list(merged.values())


def visible(text: str) -> str:
    """A token's text with its white space to be seen: ␣ for a blank, ⏎ for a line's end, ⇥ for a tab."""
    return text.replace("\n", "⏎").replace("\t", "⇥").replace(" ", "␣")


def _generated_before(turns: Turns, spot: tuple[str, int]) -> int:
    return sum(len(turns[spot[0], turn].output_ids) for turn in range(spot[1]))


def _generated(mine: Turn, theirs: Turn, offset: int, decode: Decode | None) -> list[Side]:
    if decode is None:
        return _unequal_strings(mine.text, theirs.text)
    sides = []
    for turn in (mine, theirs):
        ids = turn.output_ids
        before = [*turn.appended_ids, *ids[:offset]][-BEFORE:]
        mark = visible(decode(ids[offset : offset + 1])) if offset < len(ids) else ENDED
        sides.append(Side(decode(before), mark, decode(ids[offset + 1 : offset + 1 + AFTER])))
    return sides


def _unequal_middle(mine: Sequence[int], theirs: Sequence[int], decode: Decode | None) -> list[Side]:
    """Two sequences of ids, each cut where they begin and where they cease to differ."""
    start, ends = _middle(mine, theirs)
    sides = []
    for ids, end in zip((mine, theirs), ends, strict=True):
        marked = ids[start:end]
        left_out = "…" if len(marked) > MARKED else ""
        sides.append(
            Side(
                _say(ids[max(0, start - BEFORE) : start], decode),
                (_say(marked[:MARKED], decode) + left_out) or ENDED,
                "" if left_out else _say(ids[end : end + AFTER], decode),
            )
        )
    return sides


def _unequal_strings(mine: str, theirs: str) -> list[Side]:
    start, ends = _middle(mine, theirs)
    sides = []
    for text, end in zip((mine, theirs), ends, strict=True):
        stop = min(end, start + MARKED * CHARACTERS)
        sides.append(
            Side(
                text[max(0, start - BEFORE * CHARACTERS) : start],
                text[start:stop] or ENDED,
                text[stop : stop + AFTER * CHARACTERS],
            )
        )
    return sides


def _unequal_words(mine: Turn, theirs: Turn) -> tuple[str, list[Side]]:
    """What differs of a turn whose ids are equal: a tool result after the last generation is the usual one."""
    if mine.tool_results != theirs.tool_results:
        results = ("\n".join(turn.tool_results) for turn in (mine, theirs))
        return "the tool's result", _unequal_strings(*results)
    if mine.text != theirs.text:
        return "the text", _unequal_strings(mine.text, theirs.text)
    if mine.answer != theirs.answer:
        answers = (canonical_json(turn.answer and turn.answer.as_json()) for turn in (mine, theirs))
        return "the answer", _unequal_strings(*answers)
    nothing = Side("", ENDED, "")
    return "the order of the turns, or how a turn ended", [nothing, nothing]


def _middle(mine: Sequence[object], theirs: Sequence[object]) -> tuple[int, tuple[int, int]]:
    """Where two sequences begin to differ, and for each where what differs ends."""
    shortest = min(len(mine), len(theirs))
    start = next((index for index in range(shortest) if mine[index] != theirs[index]), shortest)
    end = 0
    while end < shortest - start and mine[-1 - end] == theirs[-1 - end]:
        end += 1
    return start, (len(mine) - end, len(theirs) - end)


def _whole_turn(turn: Turn | None, decode: Decode | None) -> Side:
    if turn is None:
        return Side("", ENDED, "")
    ids = turn.appended_ids
    return Side("", _say(ids[:MARKED], decode) or ENDED, _say(ids[MARKED : MARKED + AFTER], decode))


def _say(ids: Sequence[int], decode: Decode | None) -> str:
    """Ids as text; without a tokenizer as code points, which the prompts of such a session consist of."""
    if decode is not None:
        return decode(ids)
    return "".join(chr(each) if each < 0x110000 else f" ⟨{each}⟩ " for each in ids)


def _candidates(found: Difference, decode: Decode | None) -> list[Candidate]:
    """The two tokens that were chosen, with the probability that each replay gave them."""
    tokens = (found.token, found.other_token)
    listed = []
    for token, known in zip(tokens, (found.candidates.reference, found.candidates.other), strict=True):
        top = {} if known is None else dict(known.top)
        if token is not None and known is not None:
            top.setdefault(token, known.chosen)
        listed.append(top)
    return [
        Candidate(_name(token, decode), *(_probability(top.get(token)) for top in listed))
        for token in tokens
        if token is not None
    ]


def _name(token: int, decode: Decode | None) -> str:
    return f"token {token}" if decode is None else visible(decode([token])) or f"token {token}"


def _probability(logprob: float | None) -> float | None:
    return None if logprob is None else math.exp(logprob)

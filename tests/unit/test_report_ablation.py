"""Pages of ablations by the real command, from cell.json files made by hand: each sentence of a verdict."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.common.errors import DataError
from scripts.common.files import write_json
from scripts.records.grid import Grid
from scripts.report.ablation import make_page
from scripts.verdict.rates import flips_per_1000
from tests.patience import HANGS

ROOT = Path(__file__).resolve().parents[2]
KEY = ("tinychart-moe", "q6_k", "llama-cpp-python-0.3.36")
NAMES = dict(zip(("model", "precision", "engine"), KEY, strict=True))


def mode(unequal: int = 0, positions: int = 1000) -> dict[str, Any]:
    return {
        "passes": 3,
        "positions": positions,
        "unequal_bits": {"positions": unequal, "share": unequal / positions},
        "other_argmax": {"positions": 0, "share": 0.0},
        "under_noise": {"positions": 0, "share": 0.0},
        "noise_p99": {"chosen": None, "margin": None},
    }


def cell(variant: str, bits: list[str], *, each: int = 1, **more: Any) -> dict[str, Any]:
    """A cell.json whose replays, so many of each session, have these bits.

    A letter is one text, digits after it are other bits of it.
    """
    texts = [one[0] for one in bits]
    k = {kind: max(map(found.count, found)) for kind, found in (("text", texts), ("bits", bits))}
    alone = len(bits) > 1
    return {
        "status": "done",
        "reason": None,
        **NAMES,
        "variant": variant,
        "sessions": len(bits) // each,
        "replays": len(bits),
        "text_identical": 0 if alone and k["text"] == 1 else k["text"],
        "logprobs_identical": 0 if alone and k["bits"] == 1 else k["bits"],
        "hashes": [
            {"session": n // each, "replay": n % each, "transcript": one[0], "logprobs": one}
            for n, one in enumerate(bits)
        ],
        "class": "none observed" if len(set(bits)) == 1 else "near-tie",
        "differences": [],
        "flips_per_1000_tokens": flips_per_1000(0 if len(set(texts)) == 1 else 4, 4000).as_json(),
        "noise": None,
        "exact_ties": 0,
        "score": None,
        "tokens": {"mean": 1000.0, "cv": 0.0, "swing": 0.0},
        "tokens_per_second": 200.0,
        "forced": {"decode": mode(), "prefill": mode()},
    } | more


def page(folder: Path, baseline: dict[str, Any], *changes: dict[str, Any], **more: Any) -> str:
    """The page of one ablation of these cells; a cell with the key `planned` is planned, without a file."""
    cells = [baseline, *changes]
    for each in cells:
        if "planned" not in each and "missing" not in each:
            write_json(folder.joinpath("cells", *KEY, each["variant"], "cell.json"), each)
    grid = {
        "heading": "grid test.",
        "controls": [],
        "cells": [
            {
                **NAMES,
                "variant": each["variant"],
                "status": "planned" if "planned" in each else "run",
                "reason": each.get("planned"),
            }
            for each in cells
        ],
        "ablations": [
            {
                **NAMES,
                "baseline": baseline["variant"],
                "question": None,
                "changes": [
                    {
                        "variant": each["variant"],
                        "changed": each.get("changed", [f"{each['variant']}: 0 → 1"]),
                    }
                    for each in changes
                ],
                **more,
            }
        ],
    }
    write_json(folder / "grid.json", grid)
    return make_page(Grid.read(folder / "grid.json"), folder, KEY)


def verdict(text: str) -> str:
    (found,) = (line for line in text.splitlines() if line.startswith("**Verdict.** "))
    return found.removeprefix("**Verdict.** ")


def reason(text: str, variant: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(f"- `{variant}`: "))


UNLIKE = ["a1", "b2", "c3", "d4", "e5", "f6"]


def test_the_change_that_removes_the_difference_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", UNLIKE), cell("eager", ["a1"] * 6), cell("mtp", ["a1", "b2"] * 3))
    assert "The baseline `base` differs in bits (0 of 6 free replays equal in bits" in verdict(text)
    assert "`eager` removes it; `mtp` does not remove it" in verdict(text)
    assert "against 0 of 6 in the baseline: 6 and 6 sessions would split so in 1.5 % of cases" in reason(
        text, "eager"
    )
    assert "3 of 6 free replays equal in bits" in reason(text, "mtp")


def test_no_cause_is_claimed_where_too_little_was_looked_at(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a1", "a1", "b2"]), cell("eager", ["a1"] * 3), cell("mtp", ["a1"]))
    assert "no change was shown to remove the difference" in verdict(text)
    assert "of `eager` and `mtp` too little was looked at to say" in verdict(text)
    assert "3 of 3 free replays equal in bits" in reason(text, "eager")
    assert (
        "against 2 of 3 in the baseline: too little to name a cause (the cleanest split of 3 and 3 sessions comes in"
        " 10 % of cases if it did nothing; 4 sessions of each can tell)." in reason(text, "eager")
    )
    assert "1 of 1 free replay equal in bits" in reason(text, "mtp")
    assert "removes" not in verdict(text)


def test_a_difference_in_forced_passes_alone_proves_no_cause(tmp_path: Path) -> None:
    forced = {"decode": mode(7), "prefill": {"not_run": "the engine cannot"}}
    text = page(tmp_path, cell("base", ["a1"] * 6, forced=forced), cell("eager", ["a1"] * 6))
    assert (
        "differs in bits (6 of 6 free replays equal in bits, decode 7 of 1,000 forced positions"
        in verdict(text)
    )
    assert "too little to name a cause (free replays of equally long sessions do not part)" in reason(
        text, "eager"
    )
    assert "7 of 1,000 (0.7 %)" in text
    assert "– not run" in text


@pytest.mark.parametrize(
    ("bits", "said"),
    [
        (["b", "c", "d", "e", "f", "g"], "; none of its 6 replays has the baseline's bits."),
        (["a", "c", "d", "e", "f", "g"], "; 1 of its 6 replays has the baseline's bits."),
        (["a", "a", "d", "e", "f", "a1"], "; 2 of its 6 replays have the baseline's bits."),
    ],
)
def test_of_a_change_that_differs_in_itself_the_replays_with_the_baselines_bits_are_counted(
    tmp_path: Path, bits: list[str], said: str
) -> None:
    text = page(tmp_path, cell("base", ["a"] * 10), cell("concurrency-8", bits))
    assert reason(text, "concurrency-8").endswith(said)
    without = page(tmp_path / "w", {**cell("base", ["a"] * 10), "hashes": []}, cell("concurrency-8", bits))
    assert "baseline's bits" not in reason(without, "concurrency-8")


def test_the_change_that_brings_a_difference_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a1"] * 6), cell("jitter", UNLIKE), cell("mtp", UNLIKE))
    assert "The baseline `base` is equal in bits (6 of 6" in verdict(text)
    assert "`jitter` and `mtp` each bring a difference" in verdict(text)
    few = page(tmp_path, cell("base", ["a1"] * 3), cell("jitter", ["a1", "a1", "b2"]))
    assert "of `jitter` too little was looked at to say" in verdict(few)


def test_a_difference_that_the_prompts_bring_is_said_to_be_the_harness(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a1"] * 6), cell("leaky", UNLIKE, **{"class": "harness"}))
    assert "`leaky` brings a difference" in verdict(text)
    assert "the prompts differ before the model does (harness)" in reason(text, "leaky")


def test_a_change_that_was_accepted_and_changed_nothing_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a1"] * 6), cell("eager", ["a1"] * 4), cell("mtp", ["a2"] * 4))
    assert "no change was seen to bring a difference between replays" in verdict(text)
    assert "`mtp` gives other bits than the baseline, the same in every replay" in verdict(text)
    assert "`eager` was accepted and changed nothing" in verdict(text)
    assert reason(text, "eager").endswith(
        "same bits as the baseline in all 4 replays and all 6 of the baseline."
    )
    assert "not the baseline's bits; the text is the baseline's." in reason(text, "mtp")
    assert "no forced position unequal (decode 3 × 1,000, prefill 3 × 1,000)" in reason(text, "mtp")
    assert "- A: `base` and `eager` gave the same bytes in every replay." in text
    other = page(tmp_path, cell("base", ["a1"] * 2), cell("mtp", ["b1"] * 2))
    assert "the text is another too." in reason(other, "mtp")


def test_two_changes_together_tell_whether_one_takes_the_others_effect_away(tmp_path: Path) -> None:
    cells = (
        cell("prompt-cache", ["a2"] * 4, changed=["keep: 0 → 1"]),
        cell("ubatch-1", ["a3"] * 4, changed=["ubatch: 512 → 1"]),
        cell("both", ["a3"] * 4, changed=["keep: 0 → 1", "ubatch: 512 → 1"]),
    )
    said = verdict(page(tmp_path, cell("base", ["a1"] * 6), *cells))
    assert "on top of `ubatch-1`, what `prompt-cache` changes has no effect on the bits" in said
    assert "on top of `prompt-cache`" not in said


def test_what_was_not_run_says_so(tmp_path: Path) -> None:
    failed = {"status": "failed", "reason": "the engine\ndied", **NAMES, "variant": "mtp"}
    text = page(
        tmp_path,
        cell("base", ["a1"] * 4),
        failed,
        {"variant": "eager", "planned": "needs a GPU"},
        {"variant": "late", "missing": True},
    )
    assert "`mtp`, `eager` and `late` were not run" in verdict(text)
    assert reason(text, "mtp") == "- `mtp`: not run (failed): the engine died."
    assert reason(text, "eager") == "- `eager`: not run (planned): needs a GPU."
    assert reason(text, "late") == "- `late`: not run: no cell.json."


def test_nothing_is_said_of_changes_to_a_baseline_without_a_reading(tmp_path: Path) -> None:
    text = page(tmp_path, {"variant": "base", "planned": "later"}, cell("eager", ["a1"] * 4))
    assert verdict(text) == (
        "The baseline `base` has no reading (not run (planned): later): nothing is said of its changes."
    )
    text = page(tmp_path, cell("base", ["a1"]), cell("eager", ["a1"] * 4))
    assert "too little was looked at (1 of 1 free replay equal in bits" in verdict(text)
    blind = cell("base", ["a1"] * 4, logprobs_identical=None, forced=None)
    assert "equal in text (no logprobs recorded))" in verdict(
        page(tmp_path, blind, cell("eager", ["a1"] * 4))
    )


def test_what_a_start_decides_is_no_effect_of_a_change(tmp_path: Path) -> None:
    odd = ["b"] * 6 + ["a"] * 24
    text = page(tmp_path, cell("base", odd, each=6), cell("placebo", ["a"] * 30, each=6))
    assert "of `placebo` too little was looked at to say" in verdict(text)
    assert "5 and 5 sessions would split so in 100 % of cases if it did nothing" in reason(text, "placebo")
    text = page(tmp_path, cell("base", ["a"] * 30, each=6), cell("placebo", odd, each=6))
    assert "of `placebo` too little was looked at to say" in verdict(text)


def test_noise_in_every_session_that_a_change_removes_is_named(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a", "b"] * 5, each=2), cell("eager", ["a"] * 10, each=2))
    assert "`eager` removes it" in verdict(text)
    assert "5 and 5 sessions would split so in 0.79 % of cases if it did nothing" in reason(text, "eager")


def test_sessions_that_were_looked_at_longer_are_cut_to_the_shorter_ones(tmp_path: Path) -> None:
    long = ["a", "a", "b"] * 5
    text = page(tmp_path, cell("base", long, each=3), cell("eager", ["a"] * 10, each=2))
    assert "of `eager` too little was looked at to say" in verdict(text)
    assert "free replays of equally long sessions do not part" in reason(text, "eager")


def test_other_bits_in_few_sessions_say_how_starts_alone_would_part(tmp_path: Path) -> None:
    text = page(tmp_path, cell("base", ["a"] * 6, each=3), cell("eager", ["b"] * 6, each=3))
    assert reason(text, "eager").endswith(
        "the text is another too. Did the start decide the bits, 2 and 2 sessions would part so in 33 %."
    )


def test_without_hashes_no_cause_is_claimed(tmp_path: Path) -> None:
    blind = cell("base", UNLIKE) | {"hashes": []}
    text = page(tmp_path, blind, cell("eager", ["a1"] * 6))
    assert "(cell.json has no hashes to compare)" in reason(text, "eager")


def command(folder: Path, *, precision: str = "q6_k") -> subprocess.CompletedProcess[str]:
    names = {**NAMES, "precision": precision}
    given = [part for key, value in names.items() for part in (f"--{key}", value)]
    files = [
        "--grid",
        str(folder / "grid.json"),
        "--results",
        str(folder),
        "--output",
        str(folder / "page.md"),
    ]
    line = [sys.executable, "-m", "scripts.make_ablation", *files, *given]
    return subprocess.run(line, cwd=ROOT, capture_output=True, text=True, timeout=HANGS)


def test_whether_routing_differed_first_is_said_where_experts_were_recorded(tmp_path: Path) -> None:
    first = {"comparisons": 4, "logits": 3, "same_step": 1, "experts": 0, "prompt": 0, "neither": 0}
    share = {"share": None}
    routing = {
        "other_experts": {"positions": 12, **share},
        "unequal_bits_same_experts": {"positions": 900, **share},
        "first": first,
    }
    named = cell(
        "routed",
        ["a", "b"],
        forced={"prefill": {**mode(1000), "routing": routing}, "decode": {"not_run": "no"}},
    )
    text = page(tmp_path, cell("base", ["a", "b"]), named)
    assert "Did routing differ before the logits did?" in text
    assert (
        "- `routed`, prefill, 3 passes: other experts at 12 of 1,000 positions, unequal bits with the same experts at"
        " 900. What differed first, in 4 comparisons with the first pass: the logits, with every expert so far the"
        " same, in 3, experts and logits in one step in 1." in text
    )
    assert "**Experts.**" not in page(tmp_path / "other", cell("base", ["a", "b"]), cell("eager", ["a", "b"]))


def test_only_the_last_column_varies_from_build_to_build(tmp_path: Path) -> None:
    def build(speed: float) -> list[str]:
        fast = cell("eager", ["a1"] * 4, tokens_per_second=speed)
        page(tmp_path, cell("base", ["a1"] * 4), fast, question="Does it?")
        done = command(tmp_path)
        assert done.returncode == 0, done.stderr
        return (tmp_path / "page.md").read_text(encoding="utf-8").splitlines()

    one, again, other = build(100.0), build(100.0), build(12345.0)
    assert one == again
    assert one != other
    assert "*Does it?*" in one
    assert any(line.rstrip(" |").endswith("100 (× 0.50)") for line in one)

    def without_last(lines: list[str]) -> list[str]:
        return [line.rsplit("|", 2)[0] if line.startswith("|") else line for line in lines]

    assert without_last(one) == without_last(other)


def test_an_ablation_that_the_grid_has_not_is_refused(tmp_path: Path) -> None:
    page(tmp_path, cell("base", ["a1"] * 4), cell("eager", ["a1"] * 4))
    done = command(tmp_path, precision="q6k")
    assert done.returncode == 1
    assert "the grid has no ablation of tinychart-moe/q6k/" in done.stderr
    assert "did you mean 'tinychart-moe/q6_k/" in done.stderr


def test_a_torn_cell_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing required field `tokens_per_second`"):
        torn = cell("eager", ["a1"] * 4)
        del torn["tokens_per_second"]
        page(tmp_path, cell("base", ["a1"] * 4), torn)


FLAGS = {"moe_backend": '"auto"', "max_num_seqs": "1"}
KERNELS = {
    "experts": "CUTLASS",
    "dense": "?",
    "attention": "FA3",
    "linear_attention": None,
    "all_reduce": None,
    "runner": "V1",
}
KNOWN: dict[str, Any] = {"flags": FLAGS, "kernels": KERNELS, "resolved": {"prefix_caching": "False"}}
EIGHT = ["a"] * 8


def flag(folder: Path, bits: list[str], **changed: Any) -> str:
    """What the page says of the flags of a change against a baseline that is equal in bits."""
    text = page(folder, cell("base", EIGHT, **KNOWN), cell("change", bits, **{**KNOWN, **changed}))
    (row,) = (line for line in text.splitlines() if line.startswith("| `change`"))
    names = next(line for line in text.splitlines() if line.startswith("| variant"))
    return dict(zip((n.strip() for n in names.split("|")), (c.strip() for c in row.split("|")), strict=True))[
        "flags"
    ]


@pytest.mark.parametrize(
    ("bits", "changed", "said"),
    [
        (EIGHT, {"moe_backend": '"cutlass"'}, "accepted, without effect (as far as bits show)"),
        (["b"] * 8, {"moe_backend": '"cutlass"'}, "honoured: other bits"),
        (list("abcdefgh"), {"moe_backend": '"cutlass"'}, "honoured: brings a difference"),
        (["a"] * 7 + ["b"], {"max_num_seqs": "8"}, "accepted, effect not told"),
        (EIGHT, {}, "–"),
    ],
)
def test_what_became_of_a_flag_by_its_bits(
    tmp_path: Path, bits: list[str], changed: dict[str, str], said: str
) -> None:
    assert flag(tmp_path, bits, flags=FLAGS | changed) == said


def test_another_kernel_shows_that_a_flag_was_honoured_and_an_echo_does_not(tmp_path: Path) -> None:
    triton = {"flags": FLAGS | {"moe_backend": '"triton"'}, "kernels": KERNELS | {"experts": "Triton"}}
    assert flag(tmp_path / "1", EIGHT, **triton) == "honoured: experts Triton, not CUTLASS"
    unread = {"flags": FLAGS | {"moe_backend": '"triton"'}, "kernels": KERNELS | {"experts": "?"}}
    assert flag(tmp_path / "2", EIGHT, **unread) == "accepted, without effect (as far as bits show)"
    echo = {"flags": FLAGS | {"enable_prefix_caching": "true"}, "resolved": {"prefix_caching": "True"}}
    assert flag(tmp_path / "3", EIGHT, **echo) == "accepted, without effect (as far as bits show)"
    derived = {
        "flags": FLAGS | {"enforce_eager": "true"},
        "resolved": {"prefix_caching": "False", "cudagraph_mode": "NONE"},
    }
    base = cell("base", EIGHT, **{**KNOWN, "resolved": {"prefix_caching": "False", "cudagraph_mode": "FULL"}})
    assert "| honoured: cudagraph_mode NONE, not FULL " in page(
        tmp_path / "4", base, cell("change", EIGHT, **{**KNOWN, **derived})
    )


def test_of_patches_those_that_the_baseline_lacks_are_named(tmp_path: Path) -> None:
    base = cell("base", EIGHT, **{**KNOWN, "resolved": {"patch": "one-expert"}})
    change = {"flags": FLAGS | {"TEMPZERO_PATCH": "sorted"}, "resolved": {"patch": "sorted, one-expert"}}
    assert "| honoured: patch sorted " in page(tmp_path, base, cell("change", EIGHT, **{**KNOWN, **change}))


def test_a_flag_that_the_log_says_is_not_heeded(tmp_path: Path) -> None:
    changed = {
        "flags": FLAGS | {"attention_backend": '"FLASHINFER"'},
        "ignored": {"attention_backend": "Cannot use FLASHINFER backend on CPU."},
    }
    assert (
        flag(tmp_path, EIGHT, **changed)
        == "accepted, without effect; not heeded by its log: attention_backend"
    )


def test_a_refused_change_has_the_engine_s_own_sentence(tmp_path: Path) -> None:
    sentence = "ValueError: moe_backend='marlin' is not supported for unquantized MoE."
    refused = {
        "status": "refused",
        **NAMES,
        "variant": "marlin",
        "reason": sentence,
        "refused": {"sentence": sentence, "named": ["moe_backend"], "ended": "exit status 1"},
    }
    text = page(tmp_path, cell("base", EIGHT, **KNOWN), refused)
    assert "`marlin` was refused by the engine" in verdict(text)
    assert "no change was seen to bring a difference" not in verdict(text)
    assert f"its engine did not start (exit status 1): `{sentence}`." in reason(text, "marlin")
    assert "| refused: moe_backend | refused |" in " ".join(text.split())

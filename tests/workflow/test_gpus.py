"""GPUs are counted: sessions share out the cards of a machine, as its nvidia-smi names them. No engine here computes on
them; what is tested is who has which, and when."""

from __future__ import annotations

import os
import re
from pathlib import Path

import yaml
from checkouts import CELLS, ENGINE, GRID, Checkout

from scripts.provenance.devices import SEATS
from scripts.records.session import SessionRecord
from tests.nvidia import uuid, write_nvidia_smi

TWO, FOUR = "on-two-gpus", "on-four-gpus"
WIDTHS = {ENGINE: 1, TWO: 2, FOUR: 4}
VARIANTS = ["base", "leaky", "jitter", "prompt-cache"]


def give_gpus(checkout: Checkout) -> None:
    """A machine of four GPUs, and a grid of four cells on one of them, one on two and one on all, two sessions each."""
    write_nvidia_smi(checkout.path / "bin", *[81559] * 4)
    locks = checkout.path / "tmp"
    locks.mkdir()
    checkout.environment = {
        "PATH": f"{checkout.path / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "TMPDIR": str(locks),
    }
    engines = yaml.safe_load((checkout.path / "config/engines.yaml").read_text())
    for engine, gpus in WIDTHS.items():
        engines["engines"][engine] = {**engines["engines"][ENGINE], "gpus": gpus}
    checkout.write_yaml("config/engines.yaml", engines)
    block = {"models": ["tinychart-dense"], "precisions": ["q8_0"], "replays": 1}
    blocks = [
        {**block, "engines": [ENGINE], "variants": VARIANTS},
        {**block, "engines": [TWO, FOUR], "variants": ["base"]},
    ]
    checkout.write_yaml("config/grids/tiny.yaml", {**GRID, "blocks": blocks})


def sessions(checkout: Checkout) -> dict[Path, SessionRecord]:
    return {
        path.parent: SessionRecord.read(path)
        for path in checkout.path.glob("results/cells/*/*/*/*/*/session.json")
    }


def test_sessions_run_beside_each_other_each_on_cards_of_its_own(
    fresh: Checkout, made: tuple[Checkout, str]
) -> None:
    give_gpus(fresh)
    done = fresh.run("--cores", "4", "results/table.md")
    assert done.returncode == 0, done.stdout
    had = {
        folder: [gpu.uuid for gpu in (record.machine and record.machine.gpus) or []]
        for folder, record in sessions(fresh).items()
    }
    assert len(had) == 12
    for folder, cards in had.items():
        assert len(set(cards)) == len(cards) == WIDTHS[folder.parts[-3]]
    # The first free card is taken: who has the last finds all others held.
    assert {card for cards in had.values() for card in cards} == {uuid(number) for number in range(4)}
    found = list(sessions(fresh).items())
    for folder, record in found:
        beside = [
            other
            for other, each in found
            if other != folder and each.started < record.ended and record.started < each.ended
        ]
        assert not any(set(had[folder]) & set(had[other]) for other in beside)
    # First the breadth, and of that what needs most cards.
    order = re.findall(r"Session (\d\d) of \S+ \S+ on ([^,]+),", done.stdout)
    numbers = [number for number, _ in order]
    # Two that find cards free at one look of the scheduler's are begun in any order.
    assert len(numbers) == 12 and numbers[:5] == ["00"] * 5 and "00" in numbers[5:7], order
    assert order[0] == ("00", FOUR) and ("00", TWO) in order[1:4], "on two of four cards, so with two others"
    bits = (made[0].path / CELLS / "base/session-00/replay-00.logprobs.jsonl").read_bytes()
    for number in ("00", "01"):
        assert (fresh.path / CELLS / f"base/session-{number}/replay-00.logprobs.jsonl").read_bytes() == bits

    # A job that finds fewer cards than it needs says so, and what was made stays; of shared cards as well.
    fresh.environment["CUDA_VISIBLE_DEVICES"] = uuid(2)
    again = fresh.run(
        *("--cores", "2", "--resources", "gpu_gb=20", "--keep-going", "-R", "run_session", "--"),
        *(f"{CELLS.replace(ENGINE, name)}/base/session-01/session.json" for name in (ENGINE, TWO)),
    )
    assert again.returncode == 1
    assert (
        f"{TWO}: 2 GPUs are wanted and 1 is there, by nvidia-smi and CUDA_VISIBLE_DEVICES={uuid(2)}"
        in again.stdout
    )
    (only,) = [
        each for folder, each in sessions(fresh).items() if folder == fresh.path / CELLS / "base/session-01"
    ]
    assert only.machine and only.machine.gpus and [gpu.uuid for gpu in only.machine.gpus] == [uuid(2)]
    assert len(list((fresh.path / "tmp/tempzero-gpus").glob(f"{uuid(2)}.*.lock"))) == SEATS + 1, (
        "and its turn"
    )

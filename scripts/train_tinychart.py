"""Train the small models of the embedded grid: their tokenizer, their episodes, then each of the three.

    python -m scripts.train_tinychart tokenizer --output resources/tinychart
    python -m scripts.train_tinychart episodes --output episodes.npz
    python -m scripts.train_tinychart dense --episodes episodes.npz --output resources/tinychart/dense
    python -m scripts.train_tinychart moe --episodes episodes.npz --output resources/tinychart/moe
    python -m scripts.train_tinychart moe-32 --episodes episodes.npz --initial resources/tinychart/moe \
        --output resources/tinychart/moe-32

Needs PyTorch and safetensors beside the engine's environment, and in practice a GPU.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

from scripts.common.command import run
from scripts.common.errors import ConfigError

LENGTH = 2432  # ids of an episode: nearly all are shorter


def make_tokenizer(output: Path, episodes: int) -> None:
    """Train the tokenizer on `episodes` oracle transcripts and write it into `output`.

    Transcripts need a tokenizer to be played with: a bare byte-level one comes first.
    """
    from scripts.records.settings import Listing
    from scripts.tinychart.draw import FIRST_TRAINING_SEED, play_oracle, training_ids
    from scripts.tinychart.tokenizer import train_tokenizer
    from scripts.workload.chat import ChatForm

    with tempfile.TemporaryDirectory() as aside:
        bare = Path(aside) / "bare"
        train_tokenizer([], bare, vocabulary=300)
        shutil.copy(output / "chat_template.jinja", bare)
        chat = ChatForm(bare)
        texts = []
        for number in range(episodes):
            listing: Listing = "ls" if number % 4 == 0 else "names"
            turns, flawed = play_oracle(
                FIRST_TRAINING_SEED + number,
                chat,
                Path(aside),
                listing=listing,
                mistakes=0.03,
            )
            texts.append(chat.decode(training_ids(turns, flawed)[0]))
    tokenizer = train_tokenizer(texts, output)
    print(f"{tokenizer.get_vocab_size()} tokens in {output / 'tokenizer.json'}")


def main(
    what: Literal["tokenizer", "episodes", "dense", "moe", "moe-32"],
    /,
    *,
    output: Annotated[Path, "folder (for episodes: file) to write"],
    tokenizer: Annotated[Path, "folder of the tokenizer"] = Path("resources/tinychart"),
    count: Annotated[int, "episodes to draw (tokenizer: at most 400)"] = 100_000,
    skip: Annotated[int, "seeds to pass over before the first episode"] = 0,
    workers: Annotated[int | None, "processes that draw episodes (default: all cores)"] = None,
    episodes: Annotated[Path | None, "file of drawn episodes to train on"] = None,
    initial: Annotated[
        Path | None,
        "folder of an earlier training to go on from (moe-32: of the model whose experts are cut)",
    ] = None,
    steps: Annotated[int, "end after so many steps at the latest"] = 20_000,
    minutes: Annotated[float, "end after so many minutes at the latest"] = 10.0,
    rows: Annotated[int, "episodes a step"] = 32,
    rate: Annotated[float, "highest learning rate"] = 2e-3,
    hidden_experts: Annotated[float, "moe-32: the highest share of its experts that a row may not use"] = 0.0,
    seed: Annotated[int, "of weights and order"] = 0,
) -> None:
    """Train, or make what training needs."""
    if what == "tokenizer":
        make_tokenizer(output, min(count, 400))
        return
    if what == "episodes":
        from scripts.tinychart.draw import FIRST_TRAINING_SEED, draw_episodes

        draw_episodes(
            count,
            tokenizer,
            output,
            first_seed=FIRST_TRAINING_SEED + skip,
            length=LENGTH,
            workers=workers or os.cpu_count() or 1,
        )
        return
    if episodes is None:
        raise ConfigError(
            "training needs episodes",
            where="--episodes",
            remedy="draw them first: python -m scripts.train_tinychart episodes",
        )
    from scripts.tinychart.model import ModelSpec
    from scripts.tinychart.train import TrainingSpec, train

    models = {
        "dense": ModelSpec(vocabulary=1792),
        "moe": ModelSpec(vocabulary=1792, experts=8),
        "moe-32": ModelSpec(vocabulary=1792, experts=32, active_experts=8, expert_hidden=64, layers=5),
    }
    spec = TrainingSpec(
        steps=steps, rows=rows, length=LENGTH, rate=rate, seed=seed, hidden_experts=hidden_experts
    )
    if what == "moe-32":
        spec = replace(spec, warmup=100, balance_weight=0.0, kept_layers=(0, 1, 2, 4, 5))
    train(
        models[what],
        spec,
        episodes,
        output,
        minutes=minutes,
        initial=initial,
    )


if __name__ == "__main__":
    run(main)

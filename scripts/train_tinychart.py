"""Train the small models of the embedded grid: their tokenizer, their episodes, then each of the two.

    python -m scripts.train_tinychart tokenizer --output resources/tinychart
    python -m scripts.train_tinychart episodes --output episodes.npz
    python -m scripts.train_tinychart dense --episodes episodes.npz --output resources/tinychart/dense
    python -m scripts.train_tinychart moe --episodes episodes.npz --output resources/tinychart/moe

Needs PyTorch and safetensors beside the engine's environment, and in practice a GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from pathlib import Path

from scripts.common.errors import run_command

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


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["tokenizer", "episodes", "dense", "moe"])
    parser.add_argument("--output", type=Path, required=True, help="folder (for episodes: file) to write")
    parser.add_argument(
        "--tokenizer", type=Path, default=Path("resources/tinychart"), help="folder of the tokenizer"
    )
    parser.add_argument(
        "--count", type=int, default=100_000, help="episodes to draw (tokenizer: at most 400)"
    )
    parser.add_argument("--skip", type=int, default=0, help="seeds to pass over before the first episode")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes that draw episodes")
    parser.add_argument("--episodes", type=Path, help="file of drawn episodes to train on")
    parser.add_argument("--initial", type=Path, help="folder of an earlier training to go on from")
    parser.add_argument("--steps", type=int, default=20_000, help="end after so many steps at the latest")
    parser.add_argument("--minutes", type=float, default=10.0, help="end after so many minutes at the latest")
    parser.add_argument("--rows", type=int, default=32, help="episodes a step")
    parser.add_argument("--rate", type=float, default=2e-3, help="highest learning rate")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    if arguments.what == "tokenizer":
        make_tokenizer(arguments.output, min(arguments.count, 400))
        return
    if arguments.what == "episodes":
        from scripts.tinychart.draw import FIRST_TRAINING_SEED, draw_episodes

        draw_episodes(
            arguments.count,
            arguments.tokenizer,
            arguments.output,
            first_seed=FIRST_TRAINING_SEED + arguments.skip,
            length=LENGTH,
            workers=arguments.workers,
        )
        return
    if arguments.episodes is None:
        parser.error("training needs --episodes FILE (made by `train_tinychart episodes`)")
    from scripts.tinychart.model import ModelSpec
    from scripts.tinychart.train import TrainingSpec, train

    train(
        ModelSpec(vocabulary=1792, experts=8 if arguments.what == "moe" else 0),
        TrainingSpec(
            steps=arguments.steps,
            rows=arguments.rows,
            length=LENGTH,
            rate=arguments.rate,
            seed=arguments.seed,
        ),
        arguments.episodes,
        arguments.output,
        minutes=arguments.minutes,
        initial=arguments.initial,
    )


if __name__ == "__main__":
    run_command(main)

"""Score a built quant of a small model on held-out charts: the accuracy that resources/tinychart states.

.envs/llamacpp-…/bin/python -m scripts.score_tinychart results/quants/tinychart-moe/bf16/manifest.json
"""

from __future__ import annotations

import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

from scripts.common.command import run


def main(
    manifest: Annotated[Path, "manifest.json of the quant"],
    /,
    *,
    episodes: Annotated[int, "held-out charts, ten questions each"] = 60,
) -> None:
    """Score it."""
    from scripts.engines.llama_cpp_python import LlamaCppPython
    from scripts.quants.manifest import verify_manifest
    from scripts.records.settings import LlamaCppArguments
    from scripts.tinychart.score import score_held_out
    from scripts.workload.chat import ChatForm

    verify_manifest(manifest)
    folder = manifest.parent
    with (
        tempfile.TemporaryDirectory() as aside,
        closing(LlamaCppPython(folder / "model.gguf", LlamaCppArguments(), Path(aside) / "log")) as engine,
    ):
        score = score_held_out(engine, ChatForm(folder), episodes, context=4096)
    for kind in sorted(score.asked):
        print(f"{kind:20} {score.right[kind]:4} of {score.asked[kind]}")
    print(
        f"{score.right.total()} of {score.asked.total()} right ({score.accuracy:.1%}); an episode took "
        f"{score.turns / episodes:.1f} turns and {score.tokens / episodes:.0f} generated tokens"
    )


if __name__ == "__main__":
    run(main)

"""From a GGUF file's vocabulary to what a conversation needs: tokenizer.json, its configuration, the chat template.

Of byte-level BPE alone, with the ways of splitting text that are known here. That it makes the ids which llama.cpp's
own tokenizer makes is tested.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gguf
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

from scripts.common.errors import DataError, nearest
from scripts.common.files import write_json, write_whole
from scripts.quants.checkpoint import CHAT_FILES

# How text is split before pairs are merged, by llama.cpp's name of it.
SPLITS = {
    "smollm": lambda: pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    ),
}
SPECIALS = {"bos": "bos_token", "eos": "eos_token", "unknown": "unk_token", "padding": "pad_token"}


def write_chat_files(file: Path, folder: Path) -> None:
    """Write the files of the chat form into `folder`, from the GGUF `file`.

    DataError for a vocabulary of another kind.
    """
    fields = gguf.GGUFReader(file).fields

    def value(key: str) -> Any:  # what a file's maker wrote
        return fields[key].contents() if key in fields else None

    kind, split = value("tokenizer.ggml.model"), value("tokenizer.ggml.pre")
    if kind != "gpt2" or split not in SPLITS:
        raise DataError(
            f"its vocabulary is of the kind {kind}, split as {split}, which is not known here",
            where=str(file),
            remedy=nearest(str(split), SPLITS),
        )
    tokens, types = value("tokenizer.ggml.tokens"), value("tokenizer.ggml.token_type")
    merges = [tuple(each.split(" ")) for each in value("tokenizer.ggml.merges")]
    tokenizer = Tokenizer(models.BPE(vocab={each: i for i, each in enumerate(tokens)}, merges=merges))
    tokenizer.pre_tokenizer = SPLITS[split]()
    tokenizer.decoder = decoders.ByteLevel()
    for token, type_ in zip(tokens, types, strict=True):
        if type_ in (gguf.TokenType.CONTROL, gguf.TokenType.USER_DEFINED):
            added = AddedToken(token, special=type_ == gguf.TokenType.CONTROL, normalized=False)
            add = tokenizer.add_special_tokens if added.special else tokenizer.add_tokens
            add([added])
    named = {name: value(f"tokenizer.ggml.{key}_token_id") for key, name in SPECIALS.items()}
    template = value("tokenizer.chat_template")
    if template is None:
        raise DataError("it has no chat template", where=str(file))
    write_whole(folder / CHAT_FILES[0], tokenizer.to_str(pretty=False))
    write_json(
        folder / CHAT_FILES[1],
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "clean_up_tokenization_spaces": False,
            **{name: tokens[index] for name, index in named.items() if index is not None},
        },
    )
    write_whole(folder / CHAT_FILES[2], template)

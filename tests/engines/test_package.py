"""A public model out of a package: its tokenizer, written from the GGUF file, makes the ids that llama.cpp's own makes."""

from __future__ import annotations

import json
import random
import subprocess
from pathlib import Path

import pytest
import yaml

from scripts.quants.build import build_quant
from scripts.records.base import convert
from scripts.records.models import Precision
from scripts.workload.chat import ChatForm
from scripts.workload.spec import load_workload
from tests.engines.serving import ROOT, environment_python

pytestmark = pytest.mark.engines
CHARACTERS = "abcXYZ 0123456789 \n\t.,;:!?'’\"()[]{}<>|äöüõšžÕÄ€😊漢字é-_/\\=+*&%$#@~`  \r"
TOKENISE = """
import json, sys, llama_cpp
model = llama_cpp.Llama(sys.argv[1], vocab_only=True, verbose=False)
texts = json.load(sys.stdin)
json.dump([model.tokenize(text.encode(), add_bos=False, special=True) for text in texts], sys.stdout)
"""


def test_text_becomes_the_ids_of_llama_cpp(tmp_path: Path) -> None:
    entry = yaml.safe_load((ROOT / "config/models.yaml").read_text())["smollm2-135m-instruct"]["precisions"]
    build_quant("m", "p", convert(Precision, entry["q4_1"], "models.yaml"), tmp_path / "q/manifest.json")
    chat = ChatForm(tmp_path / "q")
    workload = load_workload(ROOT / "config/workloads/forty-prompts.yaml")
    rng = random.Random(1)
    texts = [chat.decode(chat.request_prompt(request)) for request in workload.requests]
    texts += [path.read_text() for path in (ROOT / "scripts/workload").glob("*.py")]
    texts += ["".join(rng.choices(CHARACTERS, k=rng.randint(1, 60))) for _ in range(1000)]
    done = subprocess.run(
        [environment_python("llamacpp"), "-c", TOKENISE, str(tmp_path / "q/model.gguf")],
        input=json.dumps(texts),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert [chat.encode(text) for text in texts] == json.loads(done.stdout)
    assert texts[:5] == [chat.decode(chat.encode(text)) for text in texts[:5]]

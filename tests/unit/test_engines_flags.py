"""Flags and commands of servers, from the arguments of engines.yaml."""

from __future__ import annotations

from scripts.engines.http import log_end
from scripts.engines.server_kinds import SERVER_KINDS, command, flags
from scripts.records.settings import Arguments


def test_each_kind_of_value_becomes_its_flag() -> None:
    given: Arguments = {
        "a_b": 1,
        "on": True,
        "off": False,
        "none": None,
        "map": {"k": [1]},
        "list": ["x", 2],
        "text": "y",
    }
    assert flags(SERVER_KINDS["vllm"], given) == (
        ["--a-b", "1", "--on", "--no-off", "--map", '{"k":[1]}', "--list", "x", "2", "--text", "y"]
    )
    assert "--no-off" not in flags(SERVER_KINDS["sglang"], given), "SGLang has no opposite of a flag"


def test_vllm_is_forced_by_a_processor_but_not_with_speculation() -> None:
    def argv(arguments: Arguments) -> list[str]:
        return command(
            SERVER_KINDS["vllm"], arguments, "/w", host="127.0.0.1", port=1, python="py", key="secret"
        )

    assert "--logits-processors" in argv({})
    assert "--logits-processors" not in argv({"speculative_config": {"method": "mtp"}})
    assert "secret" not in argv({}), "the key is no part of a command line"
    assert argv({})[:3] == ["py", "-m", "vllm.entrypoints.openai.api_server"]


def test_the_end_of_a_log_is_its_last_lines() -> None:
    text = "\n".join(f"line {number}" for number in range(40)) + "\n\n"
    assert log_end(text).count("\n") == 15
    assert log_end(text).endswith("line 39")
    assert log_end("") == ""

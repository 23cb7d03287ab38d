"""Reading YAML strictly and refusing what a schema does not allow, with line, key and remedy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from scripts.common.configs import SCHEMAS, check_schema, load_yaml, place
from scripts.common.errors import ConfigError


@pytest.fixture
def write(tmp_path: Path) -> Any:
    def _write(text: str) -> Path:
        path = tmp_path / "a.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return _write


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("15:30", "15:30"),
        ("2026-01-02", "2026-01-02"),
        ("on", "on"),
        ("no", "no"),
        ("true", True),
        ("1e-3", 0.001),
        ("1.5", 1.5),
        (".5", 0.5),
        ("-3", -3),
        ("0.36", 0.36),
        ("1.2.3", "1.2.3"),
        ("~", None),
        ("", None),
        ("'7'", "7"),
    ],
)
def test_plain_values_are_those_of_yaml_1_2(write: Any, text: str, value: object) -> None:
    assert load_yaml(write(f"key: {text}\n")) == {"key": value}


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{1,8}", fullmatch=True),
        st.one_of(
            st.booleans(),
            st.none(),
            st.integers(-(10**12), 10**12),
            st.floats(allow_nan=False, allow_infinity=False),
            st.text("abc 01:-.", max_size=8),
        ),
        min_size=1,
    )
)
def test_what_yaml_writes_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = tmp_path_factory.mktemp("yaml") / "a.yaml"
    path.write_text(yaml.safe_dump(value), encoding="utf-8")
    assert load_yaml(path) == value


def test_a_repeated_key_is_refused_with_both_lines(write: Any) -> None:
    path = write("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
    with pytest.raises(ConfigError, match=r"a\.yaml:5: the key 'c' is here twice \(first in line 3\)"):
        load_yaml(path)


def test_a_merged_key_may_be_given_again(write: Any) -> None:
    assert load_yaml(write("a: &x {q: 1, r: 2}\nb:\n  <<: *x\n  q: 3\n"))["b"] == {"q": 3, "r": 2}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [1\nb: 2\n", r"a\.yaml:2: this is not YAML"),
        ("", "the file is empty"),
        ("? [a]\n: 1\n", "a key must be"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(write: Any, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_yaml(write(text))


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        load_yaml(path)


def test_a_missing_file_names_its_nearest_neighbour(write: Any, tmp_path: Path) -> None:
    write("a: 1")
    with pytest.raises(ConfigError, match=r"b\.yaml: the file is missing\n.*did you mean 'a\.yaml'"):
        load_yaml(tmp_path / "b.yaml")


GRID = """\
description: a grid
workload: chartist-mini
sessions: 2
replays: 3
estimate: {tokens_per_replay: 1, tokens_per_second: 1, start_seconds: 0}
blocks:
  - models: [a]
    precisions: [b]
    engines: [c]
    variants: [d]
"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replays", "replay", r"a\.yaml:4: replay: unknown key 'replay'\n.*did you mean 'replays'\?"),
        ("sessions: 2\n", "", r"the key 'sessions' is missing\n.*add sessions: sessions a cell"),
        ("replays: 3", "replays: three", r"a\.yaml:4: replays: 'three' is not a whole number"),
        ("replays: 3", "replays: 0", r"a\.yaml:4: replays: 0 is less than the minimum of 1"),
        ("[a]", "[]", r"a\.yaml:7: blocks\[0\]\.models: it is empty"),
        ("[a]", "[a, a]", r"blocks\[0\]\.models: an entry is listed twice"),
        (
            "variants:",
            "variant:",
            r"a\.yaml:10: blocks\[0\]\.variant: unknown key .*\n.*did you mean 'variants'\?",
        ),
        (
            "[d]\n",
            "[d]\n    expect: [harnes]\n",
            r"a\.yaml:11: blocks\[0\]\.expect\[0\]: 'harnes' .*\n.*'harness'",
        ),
        (
            "workload: chartist-mini",
            "workload: Chart ist",
            r"workload: 'Chart ist' is not a name allowed here",
        ),
    ],
)
def test_a_mistake_names_file_line_key_and_remedy(write: Any, old: str, new: str, message: str) -> None:
    check_schema(load_yaml(write(GRID)), "grid", "a.yaml")
    path = write(GRID.replace(old, new, 1))
    with pytest.raises(ConfigError, match=message):
        check_schema(load_yaml(path), "grid", str(path))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("{recipe: llama-quantize, from: bf16}", "the key 'type' is missing"),
        ("{recipe: gguf-bf16, source: a, type: Q8_0}", r"type: the key has no meaning beside the others"),
        ("{recipe: gguf-bf17, source: a}", "'gguf-bf17' is not known here\n.*did you mean 'gguf-bf16'"),
        ("{recipe: gguf-bf16, source: a, local_path: b}", "exactly one of recipe, local_path, repository"),
        ("{quantised: all}", "exactly one of recipe, local_path, repository"),
        ("{repository: a/b}", "'revision' is a dependency"),
        ("{repository: a/b, revision: main}", "'main' is not a name allowed here"),
    ],
)
def test_precisions_say_where_their_weights_come_from(write: Any, entry: str, message: str) -> None:
    path = write(f"m:\n  architecture: dense\n  precisions:\n    p: {entry}\n")
    with pytest.raises(ConfigError, match=message):
        check_schema(load_yaml(path), "models", str(path))


def test_every_schema_is_one_and_explains_every_key() -> None:
    names = sorted(path.name.removesuffix(".schema.yaml") for path in SCHEMAS.glob("*.yaml"))
    assert {"config", "engines", "grid", "models", "workload"} <= set(names)
    for name in names:
        schema = load_yaml(SCHEMAS / f"{name}.schema.yaml")
        Draft202012Validator.check_schema(schema)
        assert schema["additionalProperties"] is False or "$ref" in schema["additionalProperties"]
        with pytest.raises(ConfigError):
            check_schema([], name, "nowhere")


def test_place_follows_a_path_as_far_as_it_goes(write: Any) -> None:
    path = write("a:\n  - b: 1\n  - b: 2\n")
    assert place(str(path), ["a", 1, "b"]) == f"{path}:3: a[1].b"
    assert place(str(path), ["a", 7]) == f"{path}:1: a[7]"
    assert place("--config", ["a"]) == "--config: a"
    assert place("here", []) == "here"

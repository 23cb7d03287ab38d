"""YAML files a person writes: read strictly, checked against a schema, refused with line, key and remedy."""

from __future__ import annotations

import functools
import operator
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from scripts.common.errors import ConfigError, nearest

SCHEMAS = Path(__file__).resolve().parents[2] / "config" / "schemas"

if TYPE_CHECKING:
    _Base = yaml.SafeLoader
else:
    _Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where libyaml is there

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping of keys to values",
    "string": "a text",
}


class _Loader(_Base):
    """YAML with YAML 1.2's plain values: `15:30`, `2026-01-02`, `on` and `no` stay texts, `1e-3` is a number."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("null", r"^(?:~|null|Null|NULL|)$", "~nN\0"),
    ("merge", r"^<<$", "<"),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))
_Loader.yaml_implicit_resolvers[""] = [("tag:yaml.org,2002:null", re.compile(r"^$"))]


def _integer(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> int:
    return int(node.value)


def _number(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> float:
    return float(node.value)


def _mapping(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: dict[Any, int] = {}
    for key_node, _ in node.value:
        if key_node.tag == "tag:yaml.org,2002:merge":
            continue
        key = loader.construct_object(key_node, deep=True)
        line = key_node.start_mark.line + 1
        try:
            before = seen.get(key)
        except TypeError as error:
            raise yaml.constructor.ConstructorError(
                None, None, "a key must be a text or a number", key_node.start_mark
            ) from error
        if before is not None:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} is here twice (first in line {before})", key_node.start_mark
            )
        seen[key] = line
    loader.flatten_mapping(node)
    return {
        loader.construct_object(key_node, deep=True): loader.construct_object(value_node, deep=True)
        for key_node, value_node in node.value
    }


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)
_Loader.add_constructor("tag:yaml.org,2002:float", _number)
_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


def load_yaml(path: Path) -> Any:
    """The value in a YAML file.

    ConfigError names file and line where it is missing, not UTF-8, not YAML, empty, or has a key twice.
    Plain values follow YAML 1.2: only `true` and `false` are booleans, times and dates stay texts.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError("the file is missing", where=str(path), remedy=_nearest_file(path)) from error
    except (IsADirectoryError, PermissionError) as error:
        raise ConfigError(f"the file cannot be read ({error.strerror})", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise ConfigError("the file is not UTF-8 text", where=str(path), remedy="save it as UTF-8") from error
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        problem = error.problem or "the text cannot be parsed"
        if problem.startswith("the key"):
            raise ConfigError(problem, where=where, remedy="keep one of the two") from error
        raise ConfigError(
            f"this is not YAML ({problem})", where=where, remedy="check indentation, colons and quotes there"
        ) from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"this is not YAML ({error})", where=str(path)) from error
    if value is None:
        raise ConfigError("the file is empty", where=str(path))
    return value


def plain_value(text: str) -> Any:
    """What `text` means where it stands alone in a YAML file, as on a command line: true, 7, null or a text."""
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 (a SafeLoader)
    except (yaml.YAMLError, ValueError):
        return text
    return text if isinstance(value, dict | list) else value


def check_schema(value: Any, schema_name: str, where: str) -> None:
    """Check `value` against config/schemas/{schema_name}.schema.yaml.

    The first error is raised as a ConfigError with `where` (a file's path: its line is added), the key's path
    and, for a mistyped key or name, the nearest known one.
    """
    errors = [_innermost(error) for error in _validator(schema_name).iter_errors(value)]
    if not errors:
        return
    error = min(errors, key=_order)
    path, what, remedy = _explain(error, value)
    raise ConfigError(what, where=place(where, path), remedy=remedy)


@functools.cache
def _validator(schema_name: str) -> Draft202012Validator:
    schema = load_yaml(SCHEMAS / f"{schema_name}.schema.yaml")
    return Draft202012Validator(schema)


def _nearest_file(path: Path) -> str:
    if not path.parent.is_dir():
        return f"there is no folder {path.parent}"
    return nearest(path.name, (entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix))


def _innermost(error: ValidationError) -> ValidationError:
    """Of alternatives the branch that came furthest, which is the one the writer meant."""
    while error.context and error.validator in ("anyOf", "oneOf"):
        deepest = max(len(inner.absolute_path) for inner in error.context)
        if deepest == len(error.absolute_path):
            return error
        error = min((e for e in error.context if len(e.absolute_path) == deepest), key=_order)
    return error


def _order(error: ValidationError) -> tuple[bool, bool, int, list[str]]:
    """Mistyped keys first (a missing key is often the same mistake), forbidden ones last, else from the top."""
    path = [str(part) for part in error.absolute_path]
    return (error.validator != "additionalProperties", error.validator is None, len(path), path)


def _explain(error: ValidationError, value: Any) -> tuple[list[str | int], str, str | None]:
    """Path of the offending key, what is wrong with it, how to mend it. `value`: all that was checked."""
    path = list(error.absolute_path)
    schema: Mapping[str, Any] = error.schema if isinstance(error.schema, Mapping) else {}
    described = schema.get("description")
    rule: str = str(error.validator)
    expected: Any = error.validator_value
    given: Any = error.instance
    if rule == "additionalProperties" and isinstance(given, Mapping):
        known: Iterable[str] = schema.get("properties", {})
        unknown = next(key for key in given if key not in known)
        return [*path, unknown], f"unknown key {str(unknown)!r}", nearest(str(unknown), known)
    if rule == "required" and isinstance(given, Mapping):
        missing = next(key for key in expected if key not in given)
        about = schema.get("properties", {}).get(missing, {}).get("description")
        return path, f"the key {missing!r} is missing", f"add {missing}" + (f": {about}" if about else "")
    if rule == "oneOf" and all(set(branch) == {"required"} for branch in expected):
        keys = [key for branch in expected for key in branch["required"]]
        return path, f"exactly one of {', '.join(keys)} is needed", None
    if error.validator is None:  # a key that others forbid; jsonschema's path ends above it
        above = functools.reduce(operator.getitem, path, value)
        key = next((name for name, content in above.items() if content is given), None)
        return [*path, *filter(None, [key])], "the key has no meaning beside the others here", "leave it out"
    if rule == "dependentRequired":
        return path, error.message, described
    if rule == "enum":
        return path, f"{_short(given)} is not known here", nearest(str(given), (str(v) for v in expected))
    if rule == "type":
        wanted = expected if isinstance(expected, list) else [expected]
        return path, f"{_short(given)} is not {' or '.join(_TYPES[name] for name in wanted)}", described
    if rule == "pattern":
        return path, f"{_short(given)} is not a name allowed here", described or f"it must match {expected}"
    if rule in ("minItems", "minProperties", "minLength"):
        return path, "it is empty" if expected == 1 else error.message, described
    if rule == "uniqueItems":
        return path, "an entry is listed twice", "name each once"
    return path, error.message, described


def _short(value: Any) -> str:
    text = repr(value) if not isinstance(value, bool) else str(value).lower()
    return text if len(text) <= 60 else text[:57] + "..."


def place(where: str, path: Sequence[str | int]) -> str:
    """`file:line: key[index].key`; the line only where `where` is a YAML file that can be read."""
    line = _line(Path(where), path)
    key = ""
    for part in path:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else str(part)
    place = f"{where}:{line}" if line else where
    return f"{place}: {key}" if key else place


def _line(path: Path, keys: Sequence[str | int]) -> int | None:
    """The line of a key's path in a YAML file, as far as the path can be followed."""
    try:
        node = yaml.compose(path.read_text(encoding="utf-8"), Loader=_Loader)
    except (OSError, ValueError, yaml.YAMLError):
        return None
    line = None
    for key in keys:
        if isinstance(node, yaml.MappingNode) and (
            found := [n for n in node.value if n[0].value == str(key)]
        ):
            line, node = found[0][0].start_mark.line + 1, found[0][1]
        elif isinstance(node, yaml.SequenceNode) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
            line = node.start_mark.line + 1
        else:
            break
    return line

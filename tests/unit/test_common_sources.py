"""Which files a command's result follows from."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path

import pytest

from scripts.common.sources import _imported, _module_file, command_sources, source_digest


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    files = {
        "scripts/__init__.py": "",
        "scripts/act.py": "from scripts.one.a import thing\nimport json\n",
        "scripts/one/__init__.py": "",
        "scripts/one/a.py": "def thing():\n    from scripts.two import b\n    return b\n",
        "scripts/one/unused.py": "",
        "scripts/two/__init__.py": "",
        "scripts/two/b.py": "import json, scripts.one.c as c\n",
        "scripts/one/c.py": "from scripts.one.a import thing\n",
    }
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path


def test_imports_are_followed_into_functions_and_circles(tree: Path) -> None:
    assert command_sources("act", root=tree) == [
        "scripts/__init__.py",
        "scripts/act.py",
        "scripts/one/__init__.py",
        "scripts/one/a.py",
        "scripts/one/c.py",
        "scripts/two/__init__.py",
        "scripts/two/b.py",
    ]


def test_what_is_read_of_each_module_is_what_python_imports(root: Path) -> None:
    """Of names that are modules of the project no more and no fewer than the syntax tree has."""
    for path in sorted((root / "scripts").rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_bytes())))
        parsed = {name.name for node in nodes if isinstance(node, ast.Import) for name in node.names}
        for node in nodes:
            if isinstance(node, ast.ImportFrom) and node.module:
                parsed |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
        assert _modules(_imported(path), root) == _modules(parsed, root), path


def _modules(names: Iterable[str], root: Path) -> set[str]:
    return {name for name in names if name.split(".")[0] == "scripts" and _module_file(name, root)}


def test_what_is_left_out_is_not_followed(tree: Path) -> None:
    sources = command_sources("act", without=["scripts.two.b"], root=tree)
    assert "scripts/two/b.py" not in sources
    assert "scripts/one/c.py" not in sources


def test_the_digest_follows_content_and_nothing_else(tree: Path) -> None:
    def digest() -> str:
        source_digest.cache_clear()
        return source_digest("act", root=tree)

    before = digest()
    (tree / "scripts/one/c.py").touch()
    (tree / "scripts/one/unused.py").write_text("x = 1\n")
    assert digest() == before
    (tree / "scripts/one/c.py").write_text("x = 1\n")
    assert digest() != before


@pytest.mark.parametrize("command", ["run_session", "summarise_cell", "make_table", "build_weights"])
def test_the_sources_of_a_real_command_are_what_it_imports(root: Path, command: str) -> None:
    sources = command_sources(command, root=root)
    assert f"scripts/{command}.py" in sources
    assert all((root / source).is_file() for source in sources)
    assert not any(source.startswith(("tests/", "scripts/tinychart/")) for source in sources)


def test_a_session_does_not_follow_from_verdicts_or_reports(root: Path) -> None:
    assert not any(
        s.startswith(("scripts/verdict", "scripts/report", "scripts/grid"))
        for s in command_sources("run_session", root=root)
    )

"""Commands: a function's parameters as arguments of a command line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Literal

import pytest

from scripts.common.command import call, parser_of
from scripts.common.errors import DataError
from scripts.records.models import Precision
from tests.patience import ENDS, wait_until

seen: dict[str, object] = {}


def main(
    cell: Annotated[Path, "the cell's folder"],
    /,
    *,
    sessions: Annotated[int, "how many count"],
    where: Annotated[Literal["process", "docker"], "in what"] = "process",
    entry: Annotated[Precision | None, "as JSON"] = None,
    packages: Annotated[list[Path] | None, "folders"] = None,
    tokens: Annotated[tuple[int, ...], "of the input"] = (1, 2),
    all_: Annotated[bool, "all of it"] = False,
) -> int:
    seen.update(locals())
    return 3


def test_each_parameter_is_an_argument() -> None:
    given = ["c", "--sessions", "4", "--where", "docker", "--entry", '{"recipe": "reap", "from": "bf16"}']
    given += ["--packages", "a", "--packages", "b", "--tokens", "7", "8", "--all"]
    assert call(main, given) == 3
    assert seen["cell"] == Path("c") and seen["sessions"] == 4 and seen["where"] == "docker"
    assert seen["entry"] == Precision(recipe="reap", from_="bf16")
    assert seen["packages"] == [Path("a"), Path("b")] and seen["tokens"] == [7, 8] and seen["all_"] is True


def test_what_is_left_out_has_its_default() -> None:
    call(main, ["c", "--sessions", "4"])
    assert (seen["where"], seen["entry"], seen["packages"]) == ("process", None, None)
    assert (seen["tokens"], seen["all_"]) == ((1, 2), False)


@pytest.mark.parametrize(
    "given",
    [["c"], ["--sessions", "1"], ["c", "--sessions", "x"], ["c", "--sessions", "1", "--where", "there"]],
)
def test_a_wrong_argument_ends_with_code_2(given: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        call(main, given)
    assert ended.value.code == 2
    assert "usage: python -m " in capsys.readouterr().err


def test_json_that_is_no_such_record_is_refused_with_its_key() -> None:
    with pytest.raises(DataError, match="recipe"):
        call(main, ["c", "--sessions", "1", "--entry", '{"recipe": "magic"}'])
    with pytest.raises(SystemExit):
        call(main, ["c", "--sessions", "1", "--entry", "{"])


def test_help_says_what_each_is() -> None:
    said = parser_of(main).format_help()
    for words in ("Commands: a function's parameters", "the cell's folder", "how many count", "--all"):
        assert words in said


HOLD = """
import sys, time
from pathlib import Path
from typing import Annotated
sys.path.insert(0, {root!r})
from scripts.common.command import run
from scripts.common.files import written_aside

def main(folder: Annotated[Path, "what is made"], /) -> None:
    with written_aside(folder) as aside:
        (aside / "begun").touch()
        time.sleep(60)

run(main)
"""


def test_a_command_that_is_cancelled_clears_up(root: Path, tmp_path: Path) -> None:
    """By SIGTERM to all processes of a job, whose shell and `tee` ignore it, as a rule's do."""
    (tmp_path / "hold.py").write_text(HOLD.format(root=str(root)), encoding="utf-8")
    job = (
        f"set -o pipefail; trap '' TERM; {sys.executable} hold.py made 2>&1 | tee -i log >&2; echo $? > code"
    )
    process = subprocess.Popen(["bash", "-c", job], cwd=tmp_path, start_new_session=True)
    begun = tmp_path / ".made.partial/begun"
    wait_until(lambda: process.poll() is not None or begun.exists())
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(ENDS) == 0
    assert (tmp_path / "code").read_text().strip() == "143"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["code", "hold.py", "log"]


TALK = """
import sys
from pathlib import Path
from typing import Annotated
sys.path.insert(0, {root!r})
from scripts.common.command import run

def main(done: Annotated[Path, "made at the end"], /) -> int:
    for number in range(20_000):
        print("a line of some length, and its number is", number)
    print("said beside it", file=sys.stderr)
    done.touch()
    return 3

run(main)
"""


@pytest.mark.parametrize("streams", ["", "2>&1"])
def test_a_reader_that_has_seen_enough_changes_nothing(root: Path, tmp_path: Path, streams: str) -> None:
    """The command goes on to its end, with its own exit code and without a traceback."""
    (tmp_path / "talk.py").write_text(TALK.format(root=str(root)), encoding="utf-8")
    job = f"{sys.executable} talk.py done {streams} | head -n 1; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", job], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (3, "a line of some length, and its number is 0\n")
    assert done.stderr == ("" if streams else "said beside it\n")
    assert (tmp_path / "done").is_file()

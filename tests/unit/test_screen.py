"""The screen of a long grid: what is drawn, whatever the terminal's size, and how the terminal is left."""

from __future__ import annotations

import io
import os
import queue
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO

import msgspec
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import get_character_cell_size
from rich.live import Live
from wcwidth import wcswidth, wcwidth

from scripts.screen.draw import clock, duration, plain, render
from scripts.screen.output import Output
from scripts.screen.show import draw, hear, other_page
from scripts.screen.take import END, Given, wants_screen
from scripts.screen.work import Left, Plan, Running, Work, find_running
from tests.patience import HANGS
from tests.terminal import Process, Terminal, on_terminal

ROOT = Path(__file__).resolve().parents[2]
CELL = "results/cells/tinychart-moe/q6_k/llama-cpp-python-0.3.36/base"
PLAN = Plan(CELL, sessions=2, replays=3, forced=2, session_seconds=10.0, forced_seconds=20.0)

# What a terminal may be asked to show: letters of all widths, marks that join, colours, and what moves the cursor.
ODD = st.sampled_from(
    [
        "表",
        "🙂",
        "❤️",
        "e\u0301",
        "क्षि",
        "ﷺ",
        "🇪🇪",
        "👩‍💻",
        "\t",
        "\r",
        "\x1b[2J",
        "\x07",
        "\u202e",
        "\ud800",
        "·",
    ]
)
texts = st.lists(st.one_of(st.text(max_size=12), ODD, st.just("plain words ")), max_size=20).map("".join)
sizes = st.tuples(st.integers(1, 120), st.integers(1, 40))
moments = st.floats(0, 4e9)
lefts = st.builds(
    Left,
    total=st.integers(0, 10**6),
    done=st.integers(0, 10**6),
    seconds=st.none() | st.floats(0, 1e9),
    measured=st.booleans(),
)
runs = st.lists(st.builds(Running, text=texts, seconds=moments, share=st.floats(0, 1)), max_size=5)


@st.composite
def screens(draw: st.DrawFn) -> tuple[list[str], tuple[int, int]]:
    size = draw(sizes)
    lines = render(
        title=draw(texts),
        steps=draw(st.none() | st.tuples(st.integers(0, 10**6), st.integers(0, 10**6))),
        left=draw(lefts),
        running=draw(runs),
        last=draw(st.lists(texts, max_size=60)),
        begun=draw(moments),
        now=draw(moments),
        height=size[1],
    )
    return lines, size


@given(screens())
def test_no_line_is_more_than_a_line_and_there_are_no_more_than_the_terminal_has(
    screen: tuple[list[str], tuple[int, int]],
) -> None:
    lines, (_, height) = screen
    assert 1 <= len(lines) <= height
    for line in lines:
        assert line.isprintable()
        assert wcswidth(line) == sum(map(get_character_cell_size, line))


class Drawn:
    """What a person sees of drawn lines, and no process in between."""

    def __init__(self, columns: int, height: int) -> None:
        self.terminal = Terminal(columns, height)
        self._file = io.StringIO()
        self.page: Live = other_page(self._file)
        self.page.console.size = (columns, height)  # type: ignore[assignment]

    def draw(self, lines: Sequence[str]) -> list[str]:
        """The terminal's lines after these were drawn."""
        draw(self.page, lines)
        self.flush()
        return self.terminal.page.text

    def flush(self) -> None:
        """Write what was drawn, ends of lines as the system's terminals make them."""
        self.terminal.write(self._file.getvalue().replace("\n", "\r\n"))
        self._file.truncate(0)
        self._file.seek(0)


@settings(deadline=None)  # a busy machine takes longer to draw, which is not asked here
@given(st.lists(screens(), min_size=1, max_size=4), sizes)
def test_screens_replace_one_another_and_nothing_scrolls(
    drawn: list[tuple[list[str], tuple[int, int]]], size: tuple[int, int]
) -> None:
    seen = Drawn(*size)
    seen.terminal.write("a line\r\n")
    for lines, _ in drawn:
        shown = seen.draw(lines)
        assert seen.terminal.page is seen.terminal.other
        for line, text in zip([*lines, *[""] * size[1]], shown, strict=False):
            if wcswidth(line) <= size[0]:
                assert text == line.rstrip()
            else:
                assert wcswidth(text) <= size[0]
                assert text.endswith("…") and line.startswith(text[:-1].rstrip())
                assert wcswidth(text) >= size[0] - 2 or not line[len(text) - 1 :].strip()
        assert seen.terminal.other.scrolled == 0
        assert not seen.terminal.cursor
    seen.page.stop()
    seen.flush()
    assert seen.terminal.page is seen.terminal.main
    assert seen.terminal.cursor
    assert seen.terminal.main.text[0].startswith("a") or size[1] == 1 or size[0] < 6


def test_letters_are_as_wide_as_any_terminal_has_them_or_a_question_mark() -> None:
    letters = [chr(code) for code in range(sys.maxunicode + 1) if chr(code).isprintable()]
    kept = [letter for letter in letters if plain(letter) == letter]
    assert [letter for letter in kept if wcwidth(letter) > get_character_cell_size(letter)] == []
    assert len(kept) > 100_000
    assert plain("naïve e\u0301 … → ≤ 表 🙂 · Ж") == "naïve é … → ≤ 表 🙂 · Ж"
    assert plain("ﷺ👩‍💻\t\x1b[2J") == "?👩 💻  [2J"


def test_what_is_drawn() -> None:
    begun = time.mktime((2026, 1, 2, 10, 0, 0, 0, 0, -1))
    lines = render(
        title="grid tiny (named): 2 cells",
        steps=(3, 12),
        left=Left(total=9, done=2, seconds=3725.0, measured=True),
        running=[
            Running("a b · session 1 of 2 · replay 2 of 3", 10.0, 0.3),
            Running("c d · forced", 10.0, 0.0),
        ],
        last=["Session 00 of a.", "it was said"],
        begun=begun,
        now=begun + 75,
        height=24,
    )
    assert lines == [
        "grid tiny (named): 2 cells",
        "",
        "so far    1 min 15 s, begun at 10:00:00",
        "jobs      3 of 12 done",
        "sessions  2 of 9 done, 7 left (forced replays among them)",
        "now       a b · session 1 of 2 · replay 2 of 3",
        "          c d · forced",
        "left      about 1 h 02 min, until 11:03:20 (as fast as so far)",
        "",
        "  Session 00 of a.",
        "  it was said",
    ]


@pytest.mark.parametrize(
    ("text", "columns", "cut"),
    [
        ("abcdef", 6, "abcdef"),
        ("abcdef", 5, "abcd…"),
        ("表表表", 6, "表表表"),
        ("表表表", 5, "表表…"),
        ("表表表", 4, "表 …"),
        ("表", 1, "…"),
        ("a\x1b[2Jb", 9, "a [2Jb"),
        ("a  b", 9, "a  b"),
        ("[bold]a[/bold] :smile:", 30, "[bold]a[/bold] :smile:"),
    ],
)
def test_a_line_is_cut_by_columns_and_not_by_letters(text: str, columns: int, cut: str) -> None:
    left = Left(0, 0, None, measured=False)
    lines = render(title=text, steps=None, left=left, running=[], last=[], begun=0, now=0, height=1)
    assert Drawn(columns, 1).draw(lines) == [cut]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(-3, "0 s"), (59.4, "59 s"), (60, "1 min 00 s"), (3599, "59 min 59 s"), (3600, "1 h 00 min"), (2e5, "2 d 7 h 33 min")],
)  # fmt: skip
def test_durations(seconds: float, said: str) -> None:
    assert duration(seconds) == said


def test_a_time_of_another_day_has_its_date() -> None:
    moment = time.mktime((2026, 1, 2, 10, 0, 0, 0, 0, -1))
    assert clock(moment) == clock(moment, moment) == "10:00:00"
    assert clock(moment + 86400, moment) == "Sat 03 Jan 10:00"


# What is left


def made(root: Path, name: str) -> None:
    (root / CELL / name).parent.mkdir(parents=True, exist_ok=True)
    (root / CELL / name).write_text("{}")


def test_what_is_left_follows_from_the_folders(tmp_path: Path) -> None:
    made(tmp_path, "session-00/session.json")
    os.utime(tmp_path / CELL / "session-00/session.json", (1, 1))
    work = Work(tmp_path, [PLAN], since=time.time() - 1)
    running = [Running("session 2", 10.0, 0.0)]
    assert work.left(100.0, 2, running) == Left(2, 0, 30.0, measured=False)  # as was expected: 10 + 20 s
    made(tmp_path, "session-01/session.json")
    assert work.left(130.0, 2, [Running("forced", 20.0, 0.5)]) == Left(2, 1, 15.0, measured=True)
    # 30 s for what should have taken 20: the other 10 take 15.


def test_a_session_that_is_run_again_counts_as_the_mean(tmp_path: Path) -> None:
    for name in ("session-00/session.json", "session-01/session.json", "forced.json"):
        made(tmp_path, name)
    work = Work(tmp_path, [PLAN], since=time.time() + 60)
    assert work.left(0.0, 1, []) == Left(1, 0, pytest.approx(40 / 3), measured=False)
    assert work.left(0.0, 0, []) == Left(0, 0, None, measured=False)


@given(
    st.lists(
        st.tuples(st.integers(1, 3), st.integers(0, 2), st.floats(0, 1e6), st.floats(0, 1e6)), max_size=3
    ),
    st.integers(0, 20),
    st.lists(st.tuples(st.floats(0, 1e6), st.floats(0, 1)), max_size=2),
    moments,
)
def test_what_is_left_can_always_be_said(
    plans: list[tuple[int, int, float, float]], total: int, running: list[tuple[float, float]], now: float
) -> None:
    cells = [Plan(f"results/cells/{number}", each[0], 1, *each[1:]) for number, each in enumerate(plans)]
    work = Work(ROOT, cells, since=0)
    for moment in (now, now + 10):
        left = work.left(moment, total, [Running("", *each) for each in running])
        assert left.seconds is None or left.seconds >= 0


def test_no_expected_time_at_all_is_no_division_by_it(tmp_path: Path) -> None:
    plan = Plan(CELL, sessions=1, replays=1, forced=0, session_seconds=0.0, forced_seconds=0.0)
    work = Work(tmp_path, [plan], since=time.time() - 1)
    work.left(1.0, 1, [Running("", 0.0, 0.0)])
    made(tmp_path, "session-00/session.json")
    assert work.left(2.0, 1, []) == Left(1, 1, 0.0, measured=False)


def test_what_runs_is_told_by_the_folders_written_aside(tmp_path: Path) -> None:
    since = time.time() - 1
    aside = tmp_path / CELL / ".session-01.partial"
    aside.mkdir(parents=True)
    assert [each.text for each in find_running(tmp_path, [PLAN], since)] == [
        "tinychart-moe q6_k llama-cpp-python-0.3.36 base · session 2 of 2 · the engine starts"
    ]
    for number in range(2):
        (aside / f"replay-0{number}.transcript.jsonl").write_text("")
    forced = tmp_path / CELL / ".forced.partial/forced"
    forced.mkdir(parents=True)
    (forced / "pass-00.prefill.jsonl").write_text("")
    first, second = find_running(tmp_path, [PLAN], since)
    assert first.text.endswith("forced · pass 1 of 2")
    assert second.text.endswith("session 2 of 2 · replay 2 of 3")
    assert (first.share, second.share) == (0.0, pytest.approx(1 / 3))
    os.utime(aside, (1, 1))  # a killed workflow's
    assert len(find_running(tmp_path, [PLAN], since)) == 1


# What is printed

SAID = """\
grid tiny (named): 2 cells
Building DAG of jobs...
Job stats:
job               count
--------------  -------
force_cell            1
make_table            1
run_session           2
total                 4

Select jobs to execute...
Execute 1 jobs...
[Fri Jan  2 10:00:00 2026]
Job 3: Session 00 of tinychart-moe q6_k.
Reason: Missing output files: session.json
\x1b[32mtinychart-moe · replay 1/3\x1b[0m
Finished jobid: 3 (Rule: run_session)
1 of 4 steps (25%) done
"""


def heard(text: str) -> Output:
    output = Output()
    for line in text.splitlines():
        output.add(line)
    return output


def test_jobs_are_counted_and_routine_is_left_out() -> None:
    output = heard(SAID)
    assert output.begun
    assert output.measured == 3
    assert output.steps == (1, 4)
    assert output.last(9) == ["Job 3: Session 00 of tinychart-moe q6_k.", "tinychart-moe · replay 1/3"]
    assert output.last(0) == []
    assert output.conclusion() == ["tinychart-moe · replay 1/3"]


def test_nothing_is_repeated_where_no_job_began() -> None:
    assert (
        heard("grid tiny\nNothing to be done (all requested files are present and up to date).").conclusion()
        == []
    )


def test_a_failure_stays_in_full() -> None:
    output = heard(SAID + "the engine said why\nRuleException:\nerror: no model\nline\n" + "more\n" * 5)
    assert output.conclusion()[:4] == [
        "1 of 4 steps (25%) done",
        "the engine said why",
        "RuleException:",
        "error: no model",
    ]
    assert len(output.conclusion()) == 10
    long = heard(SAID + "Error in rule x\n" + "more\n" * 500)
    assert len(long.conclusion()) == 201
    assert "…" in long.conclusion()


def heard_of(content: bytes) -> list[str]:
    found: queue.SimpleQueue[str] = queue.SimpleQueue()
    hear(io.BytesIO(content), found)
    return [found.get() for _ in range(found.qsize())]


def test_lines_come_as_a_terminal_would_show_them() -> None:
    content = "first\nhalf ä\r\n10 %\r20 %\n  two  \n\nä".encode()
    assert heard_of(content) == ["first", "half ä", "20 %", "  two", "", "ä", END]
    assert heard_of(content[:-1]) == ["first", "half ä", "20 %", "  two", "", "\ufffd", END]


def test_what_comes_after_the_end_is_not_shown() -> None:
    assert heard_of(f"last\n{END}\nlater\n".encode()) == ["last", END]


# On a terminal


SCREEN = [sys.executable, "-m", "scripts.show_progress"]


def start(command: Sequence[str] = SCREEN, **more: object) -> tuple[Process, IO[bytes]]:
    """The screen on a terminal, fed by the tests."""
    process = Process(command, cwd=ROOT, stdin=subprocess.PIPE, **more)
    stream = process.process.stdin
    assert stream is not None
    stream.write(msgspec.json.encode(Given("grid tiny", [PLAN])) + b"\n")
    stream.flush()
    return process, stream


@pytest.fixture
def screen() -> Iterator[tuple[Process, IO[bytes]]]:
    process, stream = start()
    yield process, stream
    process.close()


def say(stream: IO[bytes], text: str) -> None:
    stream.write(text.encode())
    stream.flush()


def shown(process: Process, words: str) -> Callable[[], bool]:
    return lambda: any(words in line for line in process.terminal.page.text)


def test_one_screen_from_the_first_job_to_the_end(screen: tuple[Process, IO[bytes]]) -> None:
    process, stream = screen
    before, _, after = SAID.partition("Execute 1")
    say(stream, before)
    process.read(shown(process, "Select jobs"))
    assert process.terminal.page is process.terminal.main
    say(stream, "Execute 1" + after)
    process.read(shown(process, "1 of 4 done"))
    assert process.terminal.page is process.terminal.other
    assert process.terminal.page.text[0] == "grid tiny"
    say(stream, "".join(f"line {number}\n" for number in range(300)))
    process.read(shown(process, "line 299"))
    say(stream, f"the table is there\n{END}\nleft over\n")
    process.read(process.ended)
    assert process.process.returncode == 0
    assert process.is_as_it_was()
    assert process.terminal.other.scrolled == 0
    assert process.terminal.entered == 1
    assert "the table is there" in process.terminal.main.text
    assert "left over" not in process.raw


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("size", [(1, 1), (20, 3), (7, 40), (300, 2)])
def test_any_size_will_do(size: tuple[int, int], known: bool) -> None:
    process, stream = start(size=size if known else (80, 25), known=known)
    try:
        say(stream, SAID + "表🙂" * 200 + "\n")
        process.read(lambda: process.raw.count("\x1b[H") > 1)
        assert process.terminal.other.scrolled == 0
        assert process.terminal.page.text[0] == (
            "grid tiny" if size[0] > 8 or not known else "grid tiny"[: size[0] - 1] + "…"
        )
        say(stream, f"{END}\n")
        process.read(process.ended)
        assert process.is_as_it_was()
    finally:
        process.close()


@pytest.mark.parametrize(("size", "words"), [((20, 12), "now       no sessio…"), ((120, 40), "  line 272")])
def test_a_window_of_another_size_is_drawn_as_large_as_it_is(
    screen: tuple[Process, IO[bytes]], size: tuple[int, int], words: str
) -> None:
    process, stream = screen
    say(stream, SAID + "".join(f"line {number}\n" for number in range(300)))
    process.read(shown(process, "line 299"))
    assert not shown(process, words)()
    process.resize(*size)
    process.read(shown(process, words))
    assert process.terminal.page.text[0] == "grid tiny"
    scrolled = process.terminal.other.scrolled
    say(stream, "one more\n")
    process.read(shown(process, "one more"))
    assert process.terminal.other.scrolled == scrolled
    say(stream, f"{END}\n")
    process.read(process.ended)
    assert process.is_as_it_was()


def test_the_end_of_the_workflow_ends_the_screen(screen: tuple[Process, IO[bytes]]) -> None:
    process, stream = screen
    say(stream, SAID)
    process.read(shown(process, "1 of 4 done"))
    stream.close()
    process.read(process.ended)
    assert process.is_as_it_was()


def test_what_the_workflow_prints_is_read_once_the_terminal_is_gone() -> None:
    """As after `disown -h`: a workflow that cannot print any more would end."""
    process, stream = start(["sh", "-c", 'trap "" HUP; exec "$@"', "sh", *SCREEN])
    try:
        say(stream, SAID)
        process.read(shown(process, "1 of 4 done"))
        process.hang_up()
        for _ in range(100):
            say(stream, "a line as long as that\n" * 100)  # more than a pipe holds
        say(stream, f"{END}\n")
        assert process.process.wait(HANGS) == 0
    finally:
        process.close()


@pytest.mark.parametrize("key", ["\x03", "\x1c"])
def test_what_ends_the_workflow_does_not_end_the_screen(screen: tuple[Process, IO[bytes]], key: str) -> None:
    process, stream = screen
    say(stream, SAID)
    process.read(shown(process, "1 of 4 done"))
    process.type(key)
    process.process.send_signal(signal.SIGTERM)
    say(stream, "Terminating processes on user request\n")
    process.read(shown(process, "Terminating"))
    say(stream, f"{END}\n")
    process.read(process.ended)
    assert process.process.returncode == 0
    assert process.is_as_it_was()
    assert any("Terminating" in line for line in process.terminal.main.text)


def test_ctrl_z_gives_the_terminal_back_and_fg_takes_it(screen: tuple[Process, IO[bytes]]) -> None:
    process, stream = screen
    say(stream, SAID)
    process.read(shown(process, "1 of 4 done"))
    process.type("\x1a")
    process.read(lambda: psutil.Process(process.process.pid).status() == psutil.STATUS_STOPPED)
    process.read(process.is_as_it_was)
    process.process.send_signal(signal.SIGCONT)
    process.read(shown(process, "1 of 4 done"))
    assert process.terminal.entered == 2
    say(stream, f"{END}\n")
    process.read(process.ended)
    assert process.is_as_it_was()


# A process that gives its terminal to the screen

WORKFLOW = """
    import os, subprocess, sys, time
    from scripts.screen.take import take_terminal, wants_screen
    from scripts.screen.work import Plan
    print("before", file=sys.stderr)
    if wants_screen():
        take_terminal("grid tiny", [Plan("results/cells/a/b/c/d", 1, 1, 0, 1.0, 0.0)])
    print("Execute 1 jobs...", file=sys.stderr)
    subprocess.run(["sh", "-c", "echo a job said; echo and more >&2"], check=True)
    print("on standard output", flush=True)
    {rest}
"""


def workflow(rest: str) -> list[str]:
    return [sys.executable, "-c", textwrap.dedent(WORKFLOW).format(rest=rest)]


@pytest.mark.parametrize(
    ("rest", "code"),
    [("pass", 0), ("sys.exit(3)", 3), ("raise ValueError('it failed')", 1), ("os.kill(os.getpid(), 9)", 137)],
)
def test_the_terminal_is_given_back_however_it_ends(rest: str, code: int) -> None:
    """To the shell that lives on, as a person's does."""
    shell = [
        "sh",
        "-c",
        '"$@"; echo it ended with $?; read line',
        "sh",
        *workflow(f"time.sleep(1.5)\n{rest}"),
    ]
    with on_terminal(shell, cwd=ROOT) as process:
        process.read(shown(process, "and more"))
        assert process.terminal.page is process.terminal.other
        process.read(lambda: f"it ended with {code}" in process.raw)
        process.read(lambda: process.is_as_it_was() and "on standard output" in process.terminal.main.text)
        text = process.terminal.main.text
        assert text[0] == "before"
        assert "a job said" in text and "on standard output" in text
        assert ("ValueError: it failed" in text) == ("it failed" in rest)


def test_ctrl_c_reaches_the_workflow_and_its_last_words_stay() -> None:
    rest = "try:\n    time.sleep(60)\nexcept KeyboardInterrupt:\n    sys.exit('interrupted here')"
    with on_terminal(workflow(rest), cwd=ROOT) as process:
        process.read(shown(process, "and more"))
        process.type("\x03")
        process.read(process.ended)
        assert process.process.returncode == 1
        assert process.is_as_it_was()
        assert "interrupted here" in process.terminal.main.text


def test_in_the_background_there_is_no_screen() -> None:
    command = [*workflow("print('done')")]
    shell = ["sh", "-c", 'set -m; "$@" & wait $!', "sh", *command]
    with on_terminal(shell, cwd=ROOT) as process:
        process.read(process.ended)
        assert process.terminal.entered == 0
        assert "\x1b" not in process.raw
        assert "and more" in process.terminal.main.text


@pytest.mark.parametrize("variables", [{"TERM": "dumb"}, {"TEMPZERO_PLAIN": "1"}])
def test_a_person_can_have_plain_lines(variables: dict[str, str]) -> None:
    with on_terminal(workflow("print('done')"), cwd=ROOT, env=variables) as process:
        process.read(process.ended)
        assert "\x1b" not in process.raw
        assert "done" in process.terminal.main.text


def test_where_there_is_no_terminal_lines_are_plain() -> None:
    done = subprocess.run(workflow("print('done')"), cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["a job said", "on standard output", "done"]
    assert done.stderr.splitlines() == ["before", "Execute 1 jobs...", "and more"]
    assert not wants_screen()

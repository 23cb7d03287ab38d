"""Logs of whatever wrote them: read, paired by what was asked, compared whole, and nothing named that is equal."""

from __future__ import annotations

import contextlib
import json
import random
import string
from collections import Counter
from pathlib import Path
from typing import Any

import agent_logs
import pytest
from agent_logs import ASKED, FORMS, SYSTEM, Run, Step, as_json, as_lines, chat
from cells import command
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from scripts.common.errors import DataError
from scripts.records.transcript import ToolCall, Turn
from scripts.volatile import kinds, strip
from scripts.volatile.compare import Leak, Tally, compare_files
from scripts.volatile.describe import name_volatile
from scripts.volatile.differ import align, differences
from scripts.volatile.kinds import (
    CONTENT,
    DURATION,
    HOST,
    IMAGE,
    INODE,
    MEMORY,
    NETWORK,
    NUMBER,
    ORDER,
    PATH,
    PORT,
    PROCESS,
    RANDOM,
    SIZE,
    SPACE,
    TEMPORARY,
    TIME,
    USER,
    UUID,
    VERSION,
)

DATA = Path(__file__).parents[1] / "data" / "volatile"
BASH, PROMPT = "bash", "system prompt"
# Of each pair of logs: how many results are compared, and every place: call, tool, kind, how often.
PAIRS: dict[str, tuple[int, list[tuple[int, str, str, int]]]] = {
    "01-swe-agent": (4, [(1, BASH, TIME, 2), (3, BASH, DURATION, 1), (4, BASH, RANDOM, 1)]),
    "02-mini-swe-agent": (3, [(1, BASH, TIME, 2), (3, BASH, PROCESS, 1), (3, BASH, PORT, 1)]),
    "04-inspect-log": (4, [(1, BASH, TIME, 4)]),
    "05-claude-code-session": (3, [(1, "Bash", TIME, 2), (3, "Bash", RANDOM, 1)]),
    "06-codex-rollout": (
        3,
        [(1, "shell", TIME, 2), (1, "shell", DURATION, 1), (2, "shell", DURATION, 1), (3, "apply_patch", TEMPORARY, 1)],
    ),
    "08-traj-list": (3, [(1, "get_parcel", TIME, 3)]),
    "09-parallel-results": (2, [(1, "read", TIME, 1), (1, "read", ORDER, 1)]),
    "10-proxy-log": (3, [(1, BASH, TIME, 2), (3, BASH, DURATION, 1)]),
    "11-responses-items": (
        4,
        [(1, BASH, TIME, 2), (2, "local_shell", TIME, 1), (3, "clock.now", TIME, 1), (4, "exec", PROCESS, 1)],
    ),
    "12-atif": (2, [(1, "bash_command", HOST, 2), (2, "bash_command", HOST, 2), (2, "bash_command", DURATION, 1)]),
    "14-known-values": (
        6,
        [(1, BASH, USER, 1), (1, BASH, HOST, 1), (1, BASH, PATH, 1), (2, BASH, PORT, 1), (6, BASH, ORDER, 1)],
    ),
    "15-prompt-differs": (3, [(0, PROMPT, PATH, 1), (0, PROMPT, TIME, 1), (1, BASH, ORDER, 1), (3, BASH, RANDOM, 1)]),
    "17-whitespace": (3, [(1, BASH, SPACE, 1), (2, BASH, SPACE, 1), (3, BASH, SPACE, 1)]),
    "18-image-in-result": (2, [(1, "screenshot", IMAGE, 1)]),
    "20-json-in-string": (
        2,
        [(1, BASH, TIME, 2), (1, BASH, TEMPORARY, 1), (1, BASH, PROCESS, 1), (1, BASH, DURATION, 1),
         (2, BASH, TIME, 2), (2, BASH, TEMPORARY, 1), (2, BASH, PROCESS, 1)],
    ),
    "23-lone-surrogate": (1, [(1, BASH, TIME, 1)]),
    "24-killed-run": (2, [(1, BASH, TIME, 2)]),
}  # fmt: skip


def compared(one: Path, other: Path) -> tuple[list[Leak], Tally]:
    tally = Tally()
    return list(compare_files(one, other, tally)), tally


def logged(folder: Path, one: bytes, other: bytes) -> tuple[list[Leak], Tally]:
    (folder / "one.log").write_bytes(one)
    (folder / "other.log").write_bytes(other)
    return compared(folder / "one.log", folder / "other.log")


def runs(folder: Path, one: Run, other: Run, form: str = "openai_chat") -> tuple[list[Leak], Tally]:
    return logged(folder, FORMS[form](one, "k1"), FORMS[form](other, "w8"))


def steps(*results: str, tool: str = "bash") -> list[Step]:
    return [Step(tool, {"command": f"step {n}"}, result) for n, result in enumerate(results)]


@pytest.mark.parametrize("name", PAIRS)
def test_each_place_of_a_pair_is_named_and_no_other(name: str) -> None:
    one, other = sorted(DATA.glob(f"{name}-*"))
    leaks, tally = compared(one, other)
    results, places = PAIRS[name]
    assert Counter((leak.call, leak.tool, leak.change.kind) for leak in leaks) == Counter(
        {(call, tool, kind): count for call, tool, kind, count in places}
    )
    assert (tally.compared, tally.uncompared, tally.unpaired) == (results, 0, 0)
    assert not any(leak.parted for leak in leaks)
    assert any("line 7, the last, is torn" in note for note in tally.notes) == (name == "24-killed-run")


def test_all_pairs_have_a_test() -> None:
    assert {path.name.rpartition("-")[0] for path in DATA.iterdir()} == set(PAIRS)


def test_samples_and_tasks_are_paired_by_what_was_asked() -> None:
    leaks, _ = compared(*sorted(DATA.glob("04-*")))
    assert Counter(leak.conversation for leak in leaks) == {"task 1": 2, "task 2": 2}
    leaks, _ = compared(*sorted(DATA.glob("08-*")))
    assert Counter(leak.conversation for leak in leaks) == {"task 1": 1, "task 2": 1, "task 3": 1}


def test_an_image_is_named_by_its_hash() -> None:
    (leak,), _ = compared(*sorted(DATA.glob("18-*")))
    assert "sha256" in leak.change.one
    assert "iVBOR" not in leak.change.one


# ---------------------------------------------------------------- forms

LEAKY = [
    Step("ls", {"path": "."}, "total 8\n-rw-r--r-- 1 dev dev 812 Nov 25 10:20 a.csv\n"),
    Step("read", {"path": "a.csv"}, "hour,wind\n1,7\n2,9"),
    Step("pytest", {"quiet": True}, "..... [100%]\n5 passed in 0.12s"),
]
LEAKS = [(0, "Nov 25 10:20", "Nov 26 09:01"), (2, "0.12s", "0.31s")]


def leaked(run: Run) -> list[Step]:
    given = list(run)
    for index, one, other in LEAKS:
        given[index] = Step(
            given[index].tool, given[index].arguments, given[index].result.replace(one, other)
        )
    return given


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read_whole(tmp_path: Path, form: str) -> None:
    leaks, tally = runs(tmp_path, LEAKY, leaked(LEAKY), form)
    assert [(leak.call, leak.change.kind) for leak in leaks] == [(1, TIME), (3, DURATION)]
    assert (tally.compared, tally.uncompared, tally.unpaired) == (3, 0, 0)
    assert not any(leak.parted for leak in leaks)
    leaks, tally = runs(tmp_path, LEAKY, LEAKY, form)
    assert (leaks, tally.compared) == ([], 3)


@pytest.mark.parametrize(
    "form",
    ["openai_chat", "anthropic", "inspect_zip", "openhands_events", "openhands_sdk", "requests_as_text"],
)
def test_the_tools_descriptions_are_found_in_every_form_that_has_them(
    tmp_path: Path, form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = FORMS[form](LEAKY, "k1")
    monkeypatch.setitem(agent_logs.TOOL, "description", "Runs one command.")
    leaks, tally = logged(tmp_path, one, FORMS[form](LEAKY, "w8"))
    assert {leak.tool for leak in leaks} == {"tool descriptions"}
    assert tally.compared == 3


def test_there_are_more_forms_than_the_pairs_have() -> None:
    assert len(FORMS) >= 25


@pytest.mark.parametrize("form", ["openai_chat", "anthropic", "codex_exec"])
def test_one_run_in_one_form_is_not_compared_with_another_task(tmp_path: Path, form: str) -> None:
    other = [Step("mail", {"to": "somebody"}, "sent")]
    said = (
        FORMS[form](other, "w8")
        .replace(ASKED.encode(), b"Write a poem.")
        .replace(SYSTEM.encode(), b"You write.")
    )
    if form == "codex_exec":
        return  # has no prompt, and one tool for all
    with pytest.raises(DataError, match="nothing was compared"):
        logged(tmp_path, FORMS[form](LEAKY, "k1"), said.replace(b'"bash"', b'"other"'))


def test_two_forms_of_one_run_are_compared(tmp_path: Path) -> None:
    leaks, tally = logged(tmp_path, FORMS["anthropic"](LEAKY, "k"), FORMS["gemini"](leaked(LEAKY), "w"))
    assert {(leak.call, leak.change.kind) for leak in leaks if not leak.is_prompt} == {
        (1, TIME),
        (3, DURATION),
    }
    assert tally.compared == 3


def test_an_unknown_form_says_what_was_looked_for_and_found(tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        logged(tmp_path, b'{"version": 3, "rows": [{"speed": 1.5}]}', b"{}")
    assert "messages with a role" in str(error.value)
    assert "{version: a number, rows: a list of 1" in str(error.value)


@pytest.mark.parametrize("form", ["codex_exec", "chat_lines_gz"])
def test_a_torn_last_line_is_said_and_the_rest_is_read(tmp_path: Path, form: str) -> None:
    whole = FORMS["codex_exec"](LEAKY, "k1") if form == "codex_exec" else FORMS[form](LEAKY, "k1")
    leaks, tally = logged(tmp_path, whole, whole[:-40])
    assert leaks == []
    assert any("torn" in note for note in tally.notes)
    assert tally.compared >= 2


def damaged(value: Any, rng: random.Random, share: float) -> Any:
    """The value with some of what is in it lost, renamed, or of another type."""
    if rng.random() < share:
        return rng.choice(
            [
                None,
                True,
                0,
                -1.5,
                "",
                [],
                {},
                "x",
                [None],
                [[]],
                {"role": "tool"},
                float("nan"),
                {"parts": None},
            ]
        )
    if isinstance(value, list):
        return [damaged(each, rng, share) for each in value if rng.random() > share / 2]
    if isinstance(value, dict):
        names = ["role", "type", "content", "id", "messages", "action", "observation"]
        return {
            rng.choice(names) if rng.random() < share / 3 else key: damaged(each, rng, share)
            for key, each in value.items()
        }
    return value


@pytest.mark.parametrize("form", sorted(set(FORMS) - {"inspect_zip", "chat_lines_gz"}))
def test_a_damaged_log_is_read_or_refused_in_words(tmp_path: Path, form: str) -> None:
    rng = random.Random(form)
    text = FORMS[form](LEAKY, "k1")
    try:
        values = [json.loads(text)]
    except ValueError:
        values = [json.loads(line) for line in text.splitlines()]
    for share in (0.01, 0.03, 0.1) * 6:
        one, other = (as_lines([damaged(value, rng, share) for value in values]) for _ in range(2))
        with contextlib.suppress(DataError):
            logged(tmp_path, one, other)


def test_a_torn_line_in_the_middle_is_an_error(tmp_path: Path) -> None:
    lines = as_lines(chat(LEAKY, "k1")).splitlines(keepends=True)
    with pytest.raises(DataError, match=r"one\.log:3: this is not JSON"):
        logged(tmp_path, b"".join([*lines[:2], lines[2][:20] + b"\n", *lines[3:]]), b"".join(lines))


# ---------------------------------------------------------------- kinds

PNG = "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAAB"
PLANTED = {
    TIME: ("mtime 2026-11-25 10:20:31", "mtime 2026-11-26 09:01:02"),
    DURATION: ("real\t0m1.204s", "real\t0m1.377s"),
    PROCESS: ("server started, pid 4123", "server started, pid 977"),
    PORT: ("http://127.0.0.1:43211/ is up", "http://127.0.0.1:39027/ is up"),
    INODE: ("inode: 1048577 links: 1", "inode: 1049901 links: 1"),
    MEMORY: ("<Model object at 0x7f31c0a4d2b0>", "<Model object at 0x7fe811a3c190>"),
    NETWORK: ("client 10.0.3.17 connected", "client 10.0.9.4 connected"),
    UUID: ("job 2f1d9c1e-8f2a-4a53-9f0e-0c2f3d1b7a55", "job 7a0b1c2d-1111-4222-8333-944455556666"),
    TEMPORARY: ("wrote /tmp/tmpab12cd9x/out.txt", "wrote /tmp/tmpzz87kk1q/out.txt"),
    PATH: ("in /srv/alpha/repo", "in /home/beta/repo"),
    RANDOM: ("request req_8fA9bQ2z done", "request req_0bX3tY7k done"),
    HOST: ("root@3f2c9a1b7d04:/app# ls", "root@91be02dd45aa:/app# ls"),
    USER: ("owner: anna", "owner: jaan"),
    SIZE: ("MemFree: 812332 kB", "MemFree: 790020 kB"),
    VERSION: ("Python 3.11.7", "Python 3.12.1"),
    ORDER: ("b.txt\na.txt\nc.txt", "a.txt\nb.txt\nc.txt"),
    IMAGE: (f"shown: {PNG}AA", f"shown: {PNG}BB"),
    SPACE: ("name    size\na 3", "name  size\na 3"),
    NUMBER: ("load average 0.31", "load average 0.92"),
    CONTENT: ("the weather is fine", "the weather is bad"),
}


@pytest.mark.parametrize("kind", kinds.KINDS)
@pytest.mark.parametrize("form", ["openai_chat", "anthropic", "codex_exec"])
def test_no_planted_leak_is_missed(tmp_path: Path, form: str, kind: str) -> None:
    one, other = PLANTED[kind]
    head, tail = "first line\n", "\nlast line"
    leaks, _ = runs(tmp_path, steps("x", head + one + tail, "y"), steps("x", head + other + tail, "y"), form)
    assert [(leak.call, leak.change.kind) for leak in leaks] == [(2, kind)]


def test_twenty_kinds_are_planted() -> None:
    assert set(PLANTED) == set(kinds.KINDS)
    assert len(PLANTED) == 20


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("mercredi 25 novembre 2026", "jeudi 26 novembre 2026"),
        ("Mittwoch, den 25. November 2026, 10:20 Uhr", "Donnerstag, den 26. November 2026, 09:01 Uhr"),
        ("25 de noviembre de 2026", "26 de noviembre de 2026"),
        ("mié 25 nov 2026 10:20:31 CET", "jue 26 nov 2026 09:01:02 CET"),
        ("среда, 25 ноября 2026 г.", "четверг, 26 ноября 2026 г."),
        ("25 listopada 2026", "26 listopada 2026"),
        ("2026年11月25日(水) 10時20分", "2026年11月26日(木) 09時01分"),
        ("2026년 11월 25일 수요일", "2026년 11월 26일 목요일"),
        ("\x1b[32m10:20:31\x1b[0m ok", "\x1b[32m09:01:02\x1b[0m ok"),
        ("\x1b[2m2026-11-25T10:20:31.5Z\x1b[0m ok", "\x1b[2m2026-11-26T09:01:02.1Z\x1b[0m ok"),
        ("run-20261125-102031.log", "run-20261126-090102.log"),
        ('{"a": "{\\"at\\": \\"2026-11-25 10:20:31\\"}"}', '{"a": "{\\"at\\": \\"2026-11-26 09:01:02\\"}"}'),
        ("[25/Nov/2026:10:20:31 +0000] GET /", "[26/Nov/2026:09:01:02 +0000] GET /"),
        ("Sent Nov 25, 2026 at noon", "Sent Nov 26, 2026 at noon"),
    ],
)  # fmt: skip
def test_dates_are_whole_in_any_language_and_wrapping(one: str, other: str) -> None:
    (change,) = differences(one, other)
    assert change.kind == TIME
    assert change.sure


def test_a_long_line_and_a_long_result_are_taken_piece_by_piece() -> None:
    rows = [f'{{"id": {n}, "at": "2026-11-25 10:20:{n % 60:02d}"}}' for n in range(3000)]
    line = "[" + ", ".join(rows) + "]"
    changes = differences(line, line.replace(":20:31", ":24:31").replace('"id": 7,', '"id": 8,'))
    assert Counter(change.kind for change in changes) == {TIME: 50, NUMBER: 1}
    text = "".join(f"row {n} of many, {n * 37}\n" for n in range(5000))
    other = text.replace("row 900 of", "row 900 ofter").replace("row 4000 of many,", "row 4000 of several,")
    assert [change.kind for change in differences(text, other)] == [CONTENT, CONTENT]
    changes = differences(text, "one more\n" + text.replace("row 77 of many, 2849", "row 77 of many, 1"))
    assert [change.kind for change in changes] == [CONTENT, NUMBER]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("file.c:38:24: error: x", "file.c:40:11: error: x"),
        ("process 12 items", "process 14 items"),
        ("a = b[::2]", "a = b[::3]"),
        ("the clip is 12 s long", "the clip is 15 s long"),
        ("rows[12] = 4", "rows[14] = 4"),
        ("ratio 3:15", "ratio 4:15"),
        ("v1.2.3", "v1.2.4"),
        ("colour 0xff00ff", "colour 0xff00aa"),
        ("de::ad", "be::ef"),
        ("3 marbles", "4 marbles"),
        ("server response 12", "server response 14"),
        ("main.py:12", "main.py:98"),
        ("see /tmp/notes.txt", "see /tmp/readme.txt"),
        ("  12:34  error  Unexpected var", "  14:31  error  Unexpected var"),
        ("worker 3 started", "worker 4 started"),
        ("pkg==1.2.3.4", "pkg==1.2.3.7"),
        ("there are now 12 items", "there are now 15 items"),
        ("token 12 of 40", "token 15 of 40"),
        ("template2.html", "template3.html"),
        ("reports: 12", "reports: 14"),
        ("index 83db48f..bf2a1c3 100644\n+x = 12", "index 83db48f..77aa10e 100644\n+x = 14"),
    ],
)
def test_what_a_call_can_have_changed_is_not_named_after_a_parting(
    tmp_path: Path, one: str, other: str
) -> None:
    assert not any(change.sure for change in differences(one, other))
    leaks, tally = parted(tmp_path, one, other)
    assert (leaks, tally.compared) == ([], 2)


def parted(folder: Path, one: str, other: str, command: str = "make check") -> tuple[list[Leak], Tally]:
    first = [Step("bash", {"command": "true"}, ""), Step("write", {"path": "a.c", "text": "x = 12"}, "ok")]
    second = [Step("bash", {"command": "true"}, ""), Step("write", {"path": "a.c", "text": "y = 14;"}, "ok")]
    last = {"command": command}
    return runs(folder, [*first, Step("bash", last, one)], [*second, Step("bash", last, other)])


@pytest.mark.parametrize(
    ("kind", "one", "other", "asked"),
    [
        (HOST, "root@3f2c9a1b7d04:/app# ", "root@91be02dd45aa:/app# ", "pwd"),
        (RANDOM, "9f3c2ab add station", "1a2b3c4 add station", "git log --oneline -1"),
        (ORDER, "b.csv\na.csv\nc.csv", "a.csv\nb.csv\nc.csv", "ls -U data"),
        (TIME, "-rw-r--r-- 1 dev dev 3 Nov 25 10:20 a.c", "-rw-r--r-- 1 dev dev 7 Nov 26 09:01 a.c", "ls -l"),
        (PROCESS, "worker pid 4123", "worker pid 977", "serve"),
        (DURATION, "2 failed, 3 passed in 0.12s", "1 failed, 4 passed in 0.31s", "pytest -q"),
        (MEMORY, "<Model at 0x7f31c0a4d2b0>", "<Model at 0x7fe811a3c190>", "python show.py"),
        (TEMPORARY, "see /tmp/tmpab12cd9x/log", "see /tmp/tmpzz87kk1q/log", "mktemp"),
        (UUID, "id 2f1d9c1e-8f2a-4a53-9f0e-0c2f3d1b7a55", "id 7a0b1c2d-1111-4222-8333-944455556666", "new"),
        (PORT, "listening on 127.0.0.1:43211", "listening on 127.0.0.1:39027", "serve"),
        (HOST, "[root@3f2c9a1b7d04 app]# ", "[root@91be02dd45aa app]# ", "pwd"),
        (NETWORK, "inet 172.17.0.2/16", "inet 172.17.0.5/16", "ip a"),
        (RANDOM, "container id: 3f2c9a1b7d04", "container id: 91be02dd45aa", "docker ps"),
    ],
)
def test_what_no_call_can_have_changed_is_named_after_a_parting(
    tmp_path: Path, kind: str, one: str, other: str, asked: str
) -> None:
    leaks, _ = parted(tmp_path, one, other, asked)
    assert [(leak.change.kind, leak.parted) for leak in leaks] == [(kind, True)]


def test_a_hash_of_what_a_call_wrote_is_not_named_after_a_parting(tmp_path: Path) -> None:
    leaks, _ = parted(tmp_path, "9f3c2ab81d0c  a.c", "1a2b3c4d5e6f  a.c", "sha256sum a.c")
    assert leaks == []


def test_what_stands_in_a_file_that_a_call_wrote_is_not_named_after_a_parting(tmp_path: Path) -> None:
    assert parted(tmp_path, "2026-11-20,7", "2026-11-22,9", "cat a.c")[0] == []
    leaks, _ = parted(tmp_path, "a.c Nov 25 10:20", "a.c Nov 26 09:01", "ls -l a.c")
    assert [leak.change.kind for leak in leaks] == [TIME]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("{'a', 'b', 'c'}", "{'c', 'a', 'b'}"),
        ('{"b": 1, "a": 2}', '{"a": 2, "b": 1}'),
        ("[3, 1, 2]", "[1, 2, 3]"),
        ("10.csv\n2.csv\n7.csv", "2.csv\n7.csv\n10.csv"),
        ("total 3\nb.csv\na.csv\nc.csv\nend", "total 3\na.csv\nb.csv\nc.csv\nend"),
    ],
)
def test_another_order_is_one_finding(one: str, other: str) -> None:
    assert [change.kind for change in differences(one, other)] == [ORDER]


def test_an_order_is_named_beside_what_else_differs() -> None:
    one = "read at 10:20:31\nb.csv\na.csv\nc.csv\nd.csv\n"
    other = "read at 09:01:02\na.csv\nb.csv\nc.csv\nnew.csv\nd.csv\n"
    assert sorted(change.kind for change in differences(one, other)) == [ORDER, CONTENT, TIME]


def test_rows_that_one_result_has_more_do_not_shift_the_others() -> None:
    rows = [f"{n},{n * 7 % 31},2026-11-{n % 28 + 1:02d}\n" for n in range(300)]
    other = [
        "9,9,2026-01-01\n",
        *rows[:100],
        "8,8,2026-01-02\n",
        *rows[100:150],
        rows[150].replace(",", ";"),
        *rows[151:-1],
    ]
    changes = differences("".join(rows), "".join(other))
    assert Counter(change.kind for change in changes) == {CONTENT: 5}
    records = [f'{{"id": {n}, "at": "10:20:{n % 60:02d}", "ok": true}}' for n in range(2000)]
    one, other = (
        "[" + ", ".join(each) + "]" for each in (records, [*records[:700], '{"id": 7}', *records[700:]])
    )
    assert len(differences(one, other)) <= 2


# ---------------------------------------------------------------- what is compared


def test_prompts_tools_and_their_order_are_compared(tmp_path: Path) -> None:
    def log(system: str, user: str, tools: list[str]) -> bytes:
        described = [{"name": tool, "description": f"Does {tool}."} for tool in tools]
        said = [{"role": "user", "content": user}, *chat(LEAKY, "k")[2:]]
        return as_json({"system": system, "tools": described, "messages": said})

    base = log(SYSTEM, ASKED, ["read", "write"])
    for changed, where, kind in [
        (log(SYSTEM + " Today is Nov 25, 2026.", ASKED, ["read", "write"]), "system prompt", CONTENT),
        (log(SYSTEM, ASKED + " It is 10:20:31.", ["read", "write"]), "user prompt", CONTENT),
        (log(SYSTEM, ASKED, ["write", "read"]), "tool descriptions", ORDER),
        (log(SYSTEM, ASKED, ["read", "edit"]), "tool descriptions", CONTENT),
    ]:
        leaks, tally = logged(tmp_path, base, changed)
        assert {(leak.tool, leak.change.kind) for leak in leaks} == {(where, kind)}
        assert (tally.compared, tally.prompts) == (3, 3)


def test_a_later_prompt_is_compared_while_the_model_said_the_same(tmp_path: Path) -> None:
    def log(answer: str, reminder: str) -> bytes:
        said = chat(LEAKY, "k")
        return as_json(
            [*said[:-1], {"role": "assistant", "content": answer}, {"role": "user", "content": reminder}]
        )

    leaks, _ = logged(tmp_path, log("Hour 2.", "Used 512 tokens."), log("Hour 2.", "Used 640 tokens."))
    assert [(leak.tool, leak.call) for leak in leaks] == [("user prompt", 3)]
    leaks, _ = logged(tmp_path, log("Hour 2.", "So it is 2."), log("Hour 3.", "So it is 3."))
    assert leaks == []


def test_a_conversation_of_one_alone_is_said(tmp_path: Path) -> None:
    def log(*tasks: str) -> bytes:
        return as_json(
            [
                {"task_id": task, "traj": [{"role": "user", "content": task}, *chat(LEAKY, task)[2:]]}
                for task in tasks
            ]
        )

    leaks, tally = logged(tmp_path, log("a", "b", "c"), log("c", "a"))
    assert (leaks, tally.compared, tally.unpaired) == ([], 6, 1)


def test_a_result_that_one_run_lacks_is_not_compared_and_counted(tmp_path: Path) -> None:
    said = chat(LEAKY, "k")
    leaks, tally = logged(tmp_path, as_json(said), as_json(said[:5]))
    assert (leaks, tally.compared, tally.uncompared) == ([], 1, 2)


def test_what_was_learnt_early_raises_no_alarm_and_parts_no_runs(tmp_path: Path) -> None:
    env = "USER=builder\nHOME=/home/builder", "USER=root\nHOME=/root"
    same = ["root 8080 root@root:/root# root/log 10:20", "the port is 8080 of 8081"]
    asked = [Step("bash", {"command": "su root -c 'ls /root'"}, each) for each in same]
    leaks, tally = runs(tmp_path, [*steps(env[0]), *asked], [*steps(env[1]), *asked])
    assert {leak.call for leak in leaks} == {1}
    assert (tally.compared, tally.uncompared) == (3, 0)


def test_a_value_that_a_call_passes_on_parts_no_runs(tmp_path: Path) -> None:
    def run(pid: str, folder: str) -> list[Step]:
        return [
            *steps(f"pid {pid}, log in {folder}/log"),
            Step("bash", {"command": f"kill {pid}"}, ""),
            Step("bash", {"command": f"cat {folder}/log/today.txt"}, "stopped"),
        ]

    leaks, tally = runs(tmp_path, run("4123", "/tmp/run-ab12"), run("977", "/tmp/run-zz87"))
    assert [(leak.call, leak.change.kind) for leak in leaks] == [(1, PROCESS), (1, TEMPORARY)]
    assert (tally.compared, tally.uncompared) == (3, 0)


# ---------------------------------------------------------------- clean pairs


def clean_runs(seed: int) -> tuple[list[Step], list[Step]]:
    """Two runs in a world without volatile state: alike to their end, or parted by what the model did."""
    rng = random.Random(seed)
    parting = rng.choice([12, rng.randrange(12)])
    return tuple(
        clean_run(random.Random(seed), random.Random(1000 * seed + side), parting) for side in (1, 2)
    )  # type: ignore[return-value]


def clean_run(shared: random.Random, own: random.Random, parting: int) -> list[Step]:
    files = {"a.c": "int main;", "notes.md": "todo", "data.csv": "hour,at\n1,08:45\n2,09:00\n"}
    run: list[Step] = []
    for number in range(12):
        drawn = shared if number < parting else own
        name = drawn.choice(sorted(files))
        what = drawn.randrange(8)
        if what == 0:
            files[name] = "".join(
                f"line {drawn.randrange(99)} at {drawn.randrange(24):02d}:{drawn.randrange(60):02d}:07\n"
                for _ in range(drawn.randrange(1, 9))
            )
            run.append(Step("write", {"path": name, "text": files[name]}, f"wrote {len(files[name])} bytes"))
        elif what == 1:
            listing = "\n".join(f"{key} {len(text)}" for key, text in sorted(files.items()))
            run.append(Step("bash", {"command": "ls -1s"}, listing))
        elif what == 2:
            run.append(Step("read", {"path": name}, files[name]))
        elif what == 3:
            digest = f"{sum(map(ord, files[name])) * 2654435761 % 2**40:010x}"
            run.append(Step("bash", {"command": f"sha256sum {name}"}, f"{digest}  {name}"))
        elif what == 4:
            size = len(files["a.c"])
            run.append(
                Step(
                    "bash",
                    {"command": "make"},
                    f"a.c:{size}:{size % 7}: error: process {size} items, [::{size}], {size} s long",
                )
            )
        elif what == 5:
            words = sorted(files["notes.md"].split(), key=len)
            run.append(Step("bash", {"command": "sort notes.md"}, "\n".join(words)))
        elif what == 6:
            run.append(
                Step(
                    "bash",
                    {"command": f"wc {name}"},
                    f" {files[name].count(chr(10))}  {len(files[name])} {name}",
                )
            )
        else:
            run.append(Step("search", {"for": f"term {drawn.randrange(50)}"}, "no match"))
    return run


def test_500_clean_pairs_raise_no_alarm(tmp_path: Path) -> None:
    forms = ["openai_chat", "anthropic", "mini_swe_agent", "gemini", "openhands_events"]
    apart = 0
    for seed in range(500):
        one, other = clean_runs(seed)
        leaks, tally = runs(tmp_path, one, other, forms[seed % len(forms)])
        assert leaks == [], seed
        apart += tally.uncompared > 0
    assert 100 < apart < 400


# ---------------------------------------------------------------- properties

TEXT = st.text(
    st.characters(codec=None) | st.sampled_from('\n\r\t \\"{}[]:/.-0123456789abcdefnT'), max_size=300
)
RUNS = st.lists(
    st.builds(
        Step,
        st.sampled_from(["bash", "read"]),
        st.dictionaries(st.sampled_from(["command", "path"]), TEXT, max_size=2),
        TEXT,
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=150, deadline=None)
@given(
    RUNS, st.sampled_from(["openai_chat", "anthropic", "responses", "vercel_ui_messages", "langchain_dicts"])
)
def test_equal_logs_differ_in_nothing(
    tmp_path_factory: pytest.TempPathFactory, run: list[Step], form: str
) -> None:
    leaks, tally = runs(tmp_path_factory.mktemp("equal"), run, run, form)
    assert (leaks, tally.compared, tally.uncompared) == ([], len(run), 0)


@settings(max_examples=300, deadline=None)
@given(RUNS, st.data())
def test_any_single_changed_character_is_found(
    tmp_path_factory: pytest.TempPathFactory, run: list[Step], data: st.DataObject
) -> None:
    number = data.draw(st.integers(0, len(run) - 1))
    text = run[number].result or "x"
    at = data.draw(st.integers(0, len(text) - 1))
    changed = (
        text[:at]
        + data.draw(st.characters(codec=None).filter(lambda each: each != text[at]))
        + text[at + 1 :]
    )
    one, other = (
        [*run[:number], Step(run[number].tool, run[number].arguments, each), *run[number + 1 :]]
        for each in (text, changed)
    )
    leaks, _ = runs(tmp_path_factory.mktemp("changed"), one, other)
    assert {leak.call for leak in leaks} == {number + 1}


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 6), max_size=400), st.lists(st.integers(0, 6), max_size=400))
def test_an_alignment_is_all_of_both_in_order(one: list[int], other: list[int]) -> None:
    a = c = 0
    for begin, end, start, stop in align(one, other):
        assert (begin, start) == (a, c)
        a, c = end, stop
    assert (a, c) == (len(one), len(other))


# ---------------------------------------------------------------- the filter


def test_strip_replaces_what_runs_do_not_share() -> None:
    shown = strip(
        "root@3f2c9a1b7d04:/app# ls -l\n-rw-r--r-- 1 dev dev 812 Nov 25 10:20 a.csv\n"
        "pid 4123 on 127.0.0.1:43211, <Model at 0x7f31c0a4d2b0>, /tmp/tmpab12cd9x/log\n5 passed in 0.12s"
    )
    assert shown == (
        "<host name>:/app# ls -l\n-rw-r--r-- 1 dev dev 812 <time> a.csv\n"
        "pid <process id> on <network address>:<port>, <Model at <memory address>>, <temporary name>\n5 passed in <duration>"
    )


def test_strip_leaves_what_a_call_can_have_changed() -> None:
    text = "file.c:38:24: error\nprocess 12 items\na[::2]\n12 s long\n812 bytes, v1.2.3, load 0.31\n/srv/app/main.py"
    assert strip(text) == text


@pytest.mark.parametrize("kind", sorted(kinds.SURE))
def test_strip_makes_equal_what_differs_in_a_sure_kind(kind: str) -> None:
    one, other = PLANTED[kind]
    if kind == RANDOM:
        one, other = "commit 9f3c2ab81d", "commit 17be0c44fe"
    assert strip(one) == strip(other)
    assert f"<{kind}>" in strip(one)
    assert strip(one, frozenset()) == one


def test_strip_refuses_a_kind_that_takes_two_texts() -> None:
    with pytest.raises(ValueError, match="ordering"):
        strip("b\na", frozenset({ORDER}))


@settings(max_examples=300, deadline=None)
@given(TEXT)
def test_stripping_twice_changes_nothing_more(text: str) -> None:
    assert strip(strip(text)) == strip(text)


# ---------------------------------------------------------------- the command


def test_the_command_says_each_cause_once_and_what_to_change(capsys: pytest.CaptureFixture[str]) -> None:
    one, other = map(str, sorted(DATA.glob("20-*")))
    assert command("find_volatile", one, other).returncode == 1
    said = capsys.readouterr().out
    assert said.count(": time at byte") == 1
    assert "; 3 more places of this cause" in said
    assert 'called:  {"command":"serve"}' in said
    assert "line:    pid ⟦4123⟧" in said
    assert "scripts.volatile.strip" in said
    assert "2 tool results of equal calls compared: 9 places volatile, by bash" in said
    assert command("find_volatile", one, other, "--all").returncode == 1
    assert capsys.readouterr().out.count(": time at byte") == 4


def test_the_command_names_the_tool_s_own_remedy(capsys: pytest.CaptureFixture[str]) -> None:
    command("find_volatile", *map(str, sorted(DATA.glob("01-*"))))
    said = capsys.readouterr().out
    assert "`ls` with `--time-style=+`" in said
    assert "`GIT_AUTHOR_DATE`" in said
    assert "⟦Nov 25 10:20⟧ readings.csv" in said


def test_the_command_gives_every_place_as_json(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    one, other = map(str, sorted(DATA.glob("15-*")))
    assert command("find_volatile", one, other, "--format", "json").returncode == 1
    places: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert [set(each) for each in places] == [
        {"conversation", "call", "tool", "arguments", "kind", "at", "a", "b", "certain"}
    ] * 4
    assert places[3] == {
        "conversation": "conversation 1",
        "call": 3,
        "tool": "bash",
        "arguments": '{"command":"cd /srv/run-a1b2c3 && git log -1 --format=%h"}',
        "kind": "random id or hash",
        "at": 0,
        "a": "9f3c2ab",
        "b": "1a2b3c4",
        "certain": True,
    }
    assert command("find_volatile", one, one, "--format", "json").returncode == 0
    assert json.loads(capsys.readouterr().out) == []
    (tmp_path / "empty.json").write_text("[]")
    assert command("find_volatile", one, str(tmp_path / "empty.json"), "--format", "json").returncode == 2


def test_a_lone_surrogate_and_control_characters_can_be_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, text in (("a", "x \ud83d \x1b[1m 10:20:31"), ("b", "y \ud83e \x1b[1m 09:01:02")):
        (tmp_path / name).write_bytes(FORMS["openai_chat"](steps(text), name))
    done = command("find_volatile", str(tmp_path / "a"), str(tmp_path / "b"), "--all")
    assert done.returncode == 1
    assert string.printable
    capsys.readouterr().out.encode()


def test_what_parts_a_cell_s_replays_is_named_from_pairs_of_transcripts(tmp_path: Path) -> None:
    def replay(name: str, ids: list[int], result: str) -> Path:
        turn = Turn(
            scenario="daily",
            turn=0,
            appended_ids=ids,
            output_ids=[2],
            finish_reason="stop",
            text="I look.",
            tool_calls=[ToolCall(name="list_files", arguments={})],
            tool_results=[result],
            answer=None,
        )
        path = tmp_path / f"{name}.transcript.jsonl"
        path.write_text(turn.line() + replace(turn, turn=1, appended_ids=[len(name)]).line())
        return path

    first = replay("a", [1, 2], "a.csv 10:20:31")
    second, third = replay("b", [1, 2], "a.csv 10:24:07"), replay("c", [1, 3], "a.csv 10:20:31")
    assert name_volatile([(first, second)]) == "`list_files` time 1"
    assert name_volatile([(first, second), (first, third)]) == "`list_files` time 1; `prompt` other content 1"
    assert name_volatile([(first, replay("dd", [1, 2], "a.csv 10:20:31"))]) == "other ids in a prompt"

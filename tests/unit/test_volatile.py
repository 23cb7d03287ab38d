"""Volatile state is named where it is planted, in every form of transcript, and nowhere else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest
from cells import command
from hypothesis import given, settings
from hypothesis import strategies as st

from scripts.common.errors import DataError
from scripts.records.transcript import ToolCall, Turn
from scripts.volatile import kinds
from scripts.volatile.compare import Found, find_volatile
from scripts.volatile.differ import differences
from scripts.volatile.forms import read_log
from scripts.volatile.pairing import take_apart

# Kind, and what a tool returned in two runs.
PLANTED = [
    (
        kinds.TIME,
        "-rw-r--r-- 1 root root 812 2026-11-25 10:20:31.123456789 +0000 a",
        "-rw-r--r-- 1 root root 812 2026-11-25 10:24:02.000456789 +0000 a",
    ),
    (
        kinds.TIME,
        "-rw-r--r-- 1 me me 12 Nov 25 10:20 notes.md",
        "-rw-r--r-- 1 me me 12 Nov 26 09:01 notes.md",
    ),
    (kinds.TIME, '{"created_at": 1795602031, "ok": true}', '{"created_at": 1795602035, "ok": true}'),
    (kinds.TIME, "Date: Wed, 25 Nov 2026 10:20:31 GMT", "Date: Thu, 26 Nov 2026 10:20:33 GMT"),
    (kinds.TIME, "[10:20:31] started", "[10:20:35] started"),
    (kinds.DURATION, "3 passed in 0.12s", "3 passed in 0.31s"),
    (kinds.DURATION, '{"elapsed_ms": 120, "rows": 3}', '{"elapsed_ms": 98, "rows": 3}'),
    (kinds.DURATION, "real\t0m1.204s\nuser 1", "real\t0m1.377s\nuser 1"),
    (kinds.PROCESS, "started with pid 4123", "started with pid 977"),
    (kinds.PROCESS, "sshd[812]: ready", "sshd[90211]: ready"),
    (kinds.PORT, "listening on 127.0.0.1:43211", "listening on 127.0.0.1:39027"),
    (kinds.PORT, '{"port": 8080, "name": "a"}', '{"port": 8081, "name": "a"}'),
    (kinds.MEMORY, "<object at 0x7f31c0a4d2b0>", "<object at 0x7fe811a3c190>"),
    (kinds.NETWORK, "client 10.0.3.17 connected", "client 10.0.9.4 connected"),
    (kinds.NETWORK, "ether 02:42:ac:11:00:02", "ether 02:42:ac:11:00:07"),
    (kinds.ORDER, "b.txt\na.txt\nc.txt", "a.txt\nb.txt\nc.txt"),
    (kinds.ORDER, '["pear", "fig", "plum"]', '["fig", "plum", "pear"]'),
    (kinds.UUID, "id 2f1d9c1e-8f2a-4a53-9f0e-0c2f3d1b7a55", "id 7a0b1c2d-1111-4222-8333-944455556666"),
    (kinds.TEMPORARY, "wrote /tmp/tmpab12cd9x/out.txt", "wrote /tmp/tmpzz87kk1q/out.txt"),
    (kinds.TEMPORARY, "using tmp.Xk29fjQpLm", "using tmp.a8Bd71KqPz"),
    (kinds.PATH, "in /one/folder/chart.csv", "in /other/folder/chart.csv"),
    (kinds.RANDOM, "commit 9f3c2ab81d", "commit 17be0c44fe"),
    (kinds.RANDOM, "request req_8fA9bQ2z done", "request req_0bX3tY7k done"),
    (kinds.HOST, "hostname: build-a", "hostname: worker"),
    (kinds.HOST, "root@alpha:~# ", "root@omega:~# "),
    (kinds.USER, "user: anna", "user: jaan"),
    (kinds.SIZE, "MemFree: 812332 kB", "MemFree: 790020 kB"),
    (kinds.SIZE, '{"rss": 48211200}', '{"rss": 48314880}'),
    (kinds.INODE, "Inode: 1048577 Links: 1", "Inode: 1049901 Links: 1"),
    (kinds.NUMBER, "load average 0.31", "load average 0.92"),
    (kinds.CONTENT, "all well", "all done"),
]
CALLS = [
    ("list_files", {}),
    ("read_file", {"path": "chart.csv"}),
    ("answer", {"question": "1", "value": "7"}),
]
CLEAN = ["chart.csv 812\nnotes.md 37", "bar,time,open\n1,08:45,211\n2,09:00,214", "recorded"]


def ours(path: Path, results: list[str], calls: list[tuple[str, dict[str, str]]] | None = None) -> Path:
    """A transcript of this project with one call a turn."""
    lines = []
    for number, ((name, arguments), result) in enumerate(zip(calls or CALLS, results, strict=True)):
        lines.append(
            Turn(
                scenario="daily",
                turn=number,
                appended_ids=[1],
                output_ids=[2],
                finish_reason="stop",
                text=f"I call {name}.",
                tool_calls=[ToolCall(name=name, arguments=dict(arguments))],
                tool_results=[result],
                answer=None,
            ).line()
        )
    path.write_text("".join(lines), encoding="utf-8")
    return path


def messages(results: list[str], ids: str) -> list[dict[str, object]]:
    """The same as a chat log, its call ids of the run's own."""
    said: list[dict[str, object]] = [
        {"role": "system", "content": "Use the tools."},
        {"role": "user", "content": "Go."},
    ]
    for number, ((name, arguments), result) in enumerate(zip(CALLS, results, strict=True)):
        call = {
            "id": f"call_{ids}{number}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments)},
        }
        said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": call["id"], "content": result})
    return said


def found_in(tmp_path: Path, one: list[str], other: list[str]) -> Found:
    return find_volatile(ours(tmp_path / "one.jsonl", one), ours(tmp_path / "other.jsonl", other))


@pytest.mark.parametrize(("kind", "one", "other"), PLANTED)
def test_what_is_planted_is_named(tmp_path: Path, kind: str, one: str, other: str) -> None:
    found = found_in(tmp_path, [CLEAN[0], one, CLEAN[2]], [CLEAN[0], other, CLEAN[2]])
    assert [leak.change.kind for leak in found.leaks] == [kind]
    assert (found.leaks[0].call, found.leaks[0].tool) == (2, "read_file")
    at = found.leaks[0].change.byte
    assert one.encode()[at:].startswith(found.leaks[0].change.one.encode())


def test_there_are_at_least_twelve_kinds() -> None:
    assert len({kind for kind, _, _ in PLANTED}) >= 12


def test_many_leaks_in_one_result_are_all_named(tmp_path: Path) -> None:
    chosen = {kind: (one, other) for kind, one, other in PLANTED if kind not in (kinds.ORDER, kinds.CONTENT)}
    one, other = ("\n".join(each[side] for each in chosen.values()) for side in (0, 1))
    found = found_in(tmp_path, [one, *CLEAN[1:]], [other, *CLEAN[1:]])
    assert {leak.change.kind for leak in found.leaks} == set(chosen)


def test_leaks_in_lines_of_another_order_are_named_beside_the_order(tmp_path: Path) -> None:
    one, other = "a.txt 10:20:31\nb.txt 10:20:32", "b.txt 10:24:11\na.txt 10:24:10"
    found = found_in(tmp_path, [one, *CLEAN[1:]], [other, *CLEAN[1:]])
    assert sorted(leak.change.kind for leak in found.leaks) == [kinds.ORDER, kinds.TIME, kinds.TIME]


def test_what_follows_from_a_leak_is_not_named_again(tmp_path: Path) -> None:
    calls = [("mktemp", {}), ("read_file", {"path": "/tmp/tmpab12cd9x/a"}), ("list_files", {})]
    others = [("mktemp", {}), ("read_file", {"path": "/tmp/tmpzz87kk1q/a"}), ("list_files", {})]
    one = ours(tmp_path / "one.jsonl", ["/tmp/tmpab12cd9x/a", "seven", "/tmp/tmpab12cd9x/a"], calls)
    other = ours(tmp_path / "other.jsonl", ["/tmp/tmpzz87kk1q/a", "seven", "/tmp/tmpzz87kk1q/a"], others)
    found = find_volatile(one, other)
    assert [leak.call for leak in found.leaks if not leak.follows] == [1]
    assert [leak.call for leak in found.leaks] == [1, 3]
    assert sum(found.kinds.values()) == 1
    assert (found.compared, found.uncompared) == (3, 0)


def clean_pair(
    seed: int,
) -> tuple[list[tuple[str, dict[str, str]]], list[str], list[tuple[str, dict[str, str]]], list[str]]:
    """Two runs without volatile state: alike to their end, or parted by what the model chose to do."""
    rng = random.Random(seed)

    def run(parting: int, drawn: random.Random) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
        calls: list[tuple[str, dict[str, str]]] = []
        results: list[str] = []
        files = {
            "chart.csv": "bar,time,open\n"
            + "\n".join(f"{n},{n:02d}:15,{200 + n * 7 % 31}" for n in range(1, 9))
        }
        for number in range(8):
            source = shared if number < parting else drawn
            name = source.choice(["list_files", "read_file", "write_file", "read_notes", "hash"])
            if name == "list_files":
                calls.append((name, {}))
                results.append("\n".join(f"{key} {len(text)} bytes" for key, text in sorted(files.items())))
            elif name == "write_file":
                note = f"high {source.randrange(400)} bar {source.randrange(24)}\nat {source.randrange(24):02d}:30 id {source.randrange(16**8):08x}"
                files["notes.md"] = note
                calls.append((name, {"path": "notes.md", "content": note}))
                results.append(f"wrote {len(note)} bytes to notes.md")
            elif name == "hash":
                calls.append((name, {"path": "notes.md"}))
                results.append(f"{hash_of(files.get('notes.md', ''))}  notes.md")
            else:
                path = "chart.csv" if name == "read_file" else "notes.md"
                calls.append(("read_file", {"path": path}))
                results.append(files.get(path, f"error: there is no file {path!r}; call list_files"))
        return calls, results

    parting = rng.choice([8, 8, rng.randrange(8)])
    shared_seed = rng.randrange(10**9)
    shared = random.Random(shared_seed)
    one = run(parting, random.Random(seed * 2 + 1))
    shared = random.Random(shared_seed)
    other = run(parting, random.Random(seed * 2 + 2))
    return *one, *other


def hash_of(text: str) -> str:
    import hashlib

    return hashlib.sha256(text.encode()).hexdigest()


def test_200_clean_pairs_raise_no_alarm(tmp_path: Path) -> None:
    parted = 0
    for seed in range(200):
        calls, results, others, theirs = clean_pair(seed)
        found = find_volatile(
            ours(tmp_path / "one.jsonl", results, calls), ours(tmp_path / "other.jsonl", theirs, others)
        )
        assert found.leaks == [], seed
        parted += found.uncompared > 0
    assert 40 < parted < 160


def test_a_leak_is_named_also_after_the_runs_parted(tmp_path: Path) -> None:
    calls = [("write_file", {"path": "a", "content": "x"}), ("list_files", {})]
    others = [("write_file", {"path": "a", "content": "xyz"}), ("list_files", {})]
    one = ours(tmp_path / "one.jsonl", ["wrote 1 bytes", "a 1 2026-11-25 10:20:31"], calls)
    other = ours(tmp_path / "other.jsonl", ["wrote 3 bytes", "a 3 2026-11-25 10:24:07"], others)
    (leak,) = find_volatile(one, other).leaks
    assert (leak.change.kind, leak.parted, leak.tool) == (kinds.TIME, True, "list_files")


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=400), st.text(max_size=400))
def test_equal_results_never_differ_and_unequal_ones_always_do(one: str, other: str) -> None:
    assert differences(one, one) == []
    changes = differences(one, other)
    assert (changes == []) == (one == other)
    for change in changes:
        assert 0 <= change.byte <= len(one.encode())


LOG_FORMS = ["list", "messages", "lines", "lines of messages", "parts", "blocks", "responses"]


def write_log(path: Path, form: str, results: list[str], ids: str) -> Path:
    said = messages(results, ids)
    if form == "list":
        text = json.dumps(said, indent=2)
    elif form == "messages":
        text = json.dumps({"model": "m", "messages": said})
    elif form == "lines":
        text = "\n".join(json.dumps(each) for each in said) + "\n"
    elif form == "lines of messages":
        text = "\n".join(json.dumps({"messages": said}) for _ in range(2))
    elif form == "parts":
        text = json.dumps(
            [
                {**each, "content": [{"type": "text", "text": each["content"]}]}
                if each["role"] == "tool"
                else each
                for each in said
            ]
        )
    elif form == "blocks":
        text = json.dumps([{"role": "user", "content": "Go."}, *blocks(results, ids)])
    else:
        items: list[dict[str, object]] = [{"role": "user", "content": "Go."}]
        for number, ((name, arguments), result) in enumerate(zip(CALLS, results, strict=True)):
            key = f"fc_{ids}{number}"
            items.append(
                {"type": "function_call", "call_id": key, "name": name, "arguments": json.dumps(arguments)}
            )
            items.append({"type": "function_call_output", "call_id": key, "output": result})
        text = json.dumps({"input": items})
    path.write_text(text, encoding="utf-8")
    return path


def blocks(results: list[str], ids: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for number, ((name, arguments), result) in enumerate(zip(CALLS, results, strict=True)):
        key = f"toolu_{ids}{number}"
        found.append(
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": key, "name": name, "input": arguments}],
            }
        )
        answer = {"type": "tool_result", "tool_use_id": key, "content": [{"type": "text", "text": result}]}
        found.append({"role": "user", "content": [answer]})
    return found


@pytest.mark.parametrize("form", LOG_FORMS)
def test_chat_logs_of_any_form_are_read(tmp_path: Path, form: str) -> None:
    leaky = ["a.txt 2026-11-25 10:20:31", *CLEAN[1:]], ["a.txt 2026-11-25 10:24:07", *CLEAN[1:]]
    one, other = (
        write_log(tmp_path / f"{n}.json", form, results, ids)
        for n, (results, ids) in enumerate(zip(leaky, "ab", strict=True))
    )
    found = find_volatile(one, other)
    assert {(leak.tool, leak.change.kind, leak.call) for leak in found.leaks} == {
        ("list_files", kinds.TIME, 1)
    }
    same = write_log(tmp_path / "same.json", form, leaky[0], "c")
    assert find_volatile(one, same).leaks == []
    for conversation in read_log(one).conversations:
        assert [each.tool for each in take_apart(conversation).exchanges] == [name for name, _ in CALLS]


def test_the_command_says_what_it_found(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ours(tmp_path / "one.jsonl", ["pid 4123", *CLEAN[1:]])
    other = ours(tmp_path / "other.jsonl", ["pid 977", *CLEAN[1:]])
    assert command("find_volatile", str(one), str(other)).returncode == 1
    said = capsys.readouterr().out
    assert 'daily, call 1, list_files: process id at byte 4: "4123" and "977"' in said
    assert "3 tool results of equal calls compared: 1 place volatile, by list_files" in said
    assert command("find_volatile", str(one), str(one)).returncode == 0
    assert "nothing volatile found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (None, "cannot be read"),
        ("", "the file is empty"),
        ("{not json", "this is not JSON"),
        ('{"a": 1}', "no conversation was found in it"),
        ('[{"role": "user", "content": "hi"}]', "no conversation with tool results in common"),
    ],
)
def test_what_cannot_be_compared_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    path = tmp_path / "log.json"
    if text is not None:
        path.write_text(text)
    done = command("find_volatile", str(path), str(path))
    assert done.returncode == 2
    assert words in done.stderr
    assert str(path) in done.stderr


def test_a_torn_file_is_refused(tmp_path: Path) -> None:
    whole = ours(tmp_path / "one.jsonl", CLEAN)
    torn = tmp_path / "torn.jsonl"
    torn.write_text(whole.read_text()[:-30])
    with pytest.raises(DataError, match="torn.jsonl:3"):
        find_volatile(whole, torn)

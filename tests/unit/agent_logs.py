"""One scripted run, logged in the forms that agents, APIs and proxies write."""

from __future__ import annotations

import gzip
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

ASKED = "Find the windiest hour in readings.csv and run the tests."
SYSTEM = "You are a coding agent. Use the tools."
TOOL = {"name": "bash", "description": "Runs a command.", "parameters": {"type": "object"}}


@dataclass(frozen=True)
class Step:
    """A call of a tool and what it returned."""

    tool: str
    arguments: dict[str, Any]
    result: str


Run = Sequence[Step]
Form = Callable[[Run, str], bytes]
FORMS: dict[str, Form] = {}


def form(make: Form) -> Form:
    """Register a form by its function's name."""
    FORMS[make.__name__] = make
    return make


def as_json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def as_lines(values: Sequence[object]) -> bytes:
    return "".join(json.dumps(each) + "\n" for each in values).encode()


def command_of(step: Step) -> str:
    """The step as a shell command."""
    return " ".join([step.tool, *(f"--{key}={value}" for key, value in step.arguments.items())])


def chat(run: Run, ids: str) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    for n, step in enumerate(run):
        function = {"name": step.tool, "arguments": json.dumps(step.arguments)}
        call = {"id": f"call_{ids}{n}", "type": "function", "function": function}
        said.append({"role": "assistant", "content": None, "tool_calls": [call]})
        said.append({"role": "tool", "tool_call_id": call["id"], "content": step.result})
    return [*said, {"role": "assistant", "content": "Hour 2."}]


@form
def openai_chat(run: Run, ids: str) -> bytes:
    return as_json(
        {"model": "m", "tools": [{"type": "function", "function": TOOL}], "messages": chat(run, ids)}
    )


@form
def chat_lines_gz(run: Run, ids: str) -> bytes:
    return gzip.compress(as_lines(chat(run, ids)))


@form
def requests_as_text(run: Run, ids: str) -> bytes:
    """A gateway's log: a line a request, its body and the answer's as text."""
    said = chat(run, ids)
    lines = []
    for n in range(2, len(said), 2):
        body = json.dumps(
            {"model": "m", "messages": said[:n], "tools": [{"type": "function", "function": TOOL}]}
        )
        answer = {"id": f"chatcmpl-{ids}{n}", "choices": [{"index": 0, "message": said[n]}]}
        lines.append(
            {
                "at": f"2026-11-25T10:20:{n:02d}",
                "latency": n / 7,
                "request_body": body,
                "response_body": json.dumps(answer),
            }
        )
    return as_lines(lines)


@form
def anthropic(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"role": "user", "content": [{"type": "text", "text": ASKED}]}]
    for n, step in enumerate(run):
        key = f"toolu_{ids}{n}"
        use = {"type": "tool_use", "id": key, "name": step.tool, "input": step.arguments}
        thought = {"type": "thinking", "thinking": "Next.", "signature": ids}
        said.append({"role": "assistant", "content": [thought, {"type": "text", "text": "Next."}, use]})
        answer = {
            "type": "tool_result",
            "tool_use_id": key,
            "content": [{"type": "text", "text": step.result}],
        }
        said.append({"role": "user", "content": [{**answer, "cache_control": {"type": "ephemeral"}}]})
    return as_json({"system": [{"type": "text", "text": SYSTEM}], "tools": [TOOL], "messages": said})


@form
def bedrock(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"role": "user", "content": [{"text": ASKED}]}]
    for n, step in enumerate(run):
        use = {"toolUseId": f"tooluse_{ids}{n}", "name": step.tool, "input": step.arguments}
        said.append({"role": "assistant", "content": [{"text": "Next."}, {"toolUse": use}]})
        result = {"toolUseId": use["toolUseId"], "content": [{"text": step.result}], "status": "success"}
        said.append({"role": "user", "content": [{"toolResult": result}]})
    record = {
        "timestamp": "t",
        "requestId": ids,
        "input": {"inputBodyJson": {"messages": said, "system": [{"text": SYSTEM}]}},
    }
    return as_json([record])


@form
def gemini(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"role": "user", "parts": [{"text": ASKED}]}]
    for step in run:
        said.append(
            {
                "role": "model",
                "parts": [
                    {"functionCall": {"name": step.tool, "args": step.arguments}, "thoughtSignature": ids}
                ],
            }
        )
        answer = {"name": step.tool, "response": {"output": step.result}}
        said.append({"role": "user", "parts": [{"functionResponse": answer}]})
    return as_json({"systemInstruction": {"parts": [{"text": SYSTEM}]}, "contents": said})


@form
def vercel_model_messages(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    for n, step in enumerate(run):
        head = {"toolCallId": f"call_{ids}{n}", "toolName": step.tool}
        said.append(
            {"role": "assistant", "content": [{"type": "tool-call", **head, "input": step.arguments}]}
        )
        output = {"type": "text", "value": step.result}
        said.append({"role": "tool", "content": [{"type": "tool-result", **head, "output": output}]})
    return as_json(said)


@form
def vercel_ui_messages(run: Run, ids: str) -> bytes:
    parts: list[dict[str, Any]] = []
    for n, step in enumerate(run):
        tool = {"type": f"tool-{step.tool}", "toolCallId": f"call_{ids}{n}", "state": "output-available"}
        parts += [{"type": "step-start"}, {**tool, "input": step.arguments, "output": step.result}]
    said = [
        {"id": ids, "role": "user", "parts": [{"type": "text", "text": ASKED}]},
        {"id": ids + "2", "role": "assistant", "parts": parts},
    ]
    return as_json({"id": ids, "messages": said})


@form
def vercel_tool_invocations(run: Run, ids: str) -> bytes:
    parts = []
    for n, step in enumerate(run):
        each = {
            "state": "result",
            "toolCallId": f"call_{ids}{n}",
            "toolName": step.tool,
            "args": step.arguments,
        }
        parts.append({"type": "tool-invocation", "toolInvocation": {**each, "result": step.result}})
    return as_json([{"role": "user", "content": ASKED}, {"role": "assistant", "content": "", "parts": parts}])


@form
def langchain_dicts(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [
        {"type": "system", "data": {"content": SYSTEM}},
        {"type": "human", "data": {"content": ASKED, "id": ids}},
    ]
    for n, step in enumerate(run):
        call = {"name": step.tool, "args": step.arguments, "id": f"call_{ids}{n}", "type": "tool_call"}
        said.append(
            {"type": "ai", "data": {"content": "", "type": "ai", "id": f"run-{ids}", "tool_calls": [call]}}
        )
        said.append(
            {
                "type": "tool",
                "data": {"content": step.result, "tool_call_id": call["id"], "name": step.tool, "id": ids},
            }
        )
    return as_json(said)


@form
def langchain_dumps(run: Run, ids: str) -> bytes:
    def lc(kind: str, **kwargs: Any) -> dict[str, Any]:
        return {
            "lc": 1,
            "type": "constructor",
            "id": ["langchain", "schema", "messages", kind],
            "kwargs": kwargs,
        }

    said = [lc("SystemMessage", content=SYSTEM), lc("HumanMessage", content=ASKED)]
    for n, step in enumerate(run):
        call = {"name": step.tool, "args": step.arguments, "id": f"call_{ids}{n}"}
        said.append(lc("AIMessage", content="", tool_calls=[call], id=f"run-{ids}"))
        said.append(lc("ToolMessage", content=step.result, tool_call_id=call["id"], status="success"))
    return as_json({"inputs": {"messages": said}})


@form
def responses(run: Run, ids: str) -> bytes:
    items: list[dict[str, Any]] = [
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]}
    ]
    for n, step in enumerate(run):
        key = f"call_{ids}{n}"
        items.append({"type": "reasoning", "id": f"rs_{ids}{n}", "summary": [], "encrypted_content": ids * 9})
        items.append(
            {
                "type": "function_call",
                "id": f"fc_{ids}{n}",
                "call_id": key,
                "name": step.tool,
                "arguments": json.dumps(step.arguments),
            }
        )
        items.append({"type": "function_call_output", "call_id": key, "output": step.result})
    answer = [
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "Hour 2.", "annotations": []}],
        }
    ]
    return as_json({"model": "m", "instructions": SYSTEM, "input": items, "output": answer})


@form
def swe_agent_trajectory(run: Run, ids: str) -> bytes:
    steps = [
        {
            "action": command_of(step) + "\n",
            "observation": step.result,
            "response": "r",
            "thought": "Next.",
            "execution_time": 0.1,
            "state": {"id": ids},
        }
        for step in run
    ]
    return as_json({"trajectory": steps, "info": {"model_stats": {"tokens": ids}}})


@form
def swe_agent_text_history(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [
        {"role": "system", "content": SYSTEM, "agent": "primary"},
        {"role": "user", "content": ASKED, "agent": "primary"},
    ]
    for step in run:
        command = command_of(step)
        said.append(
            {
                "role": "assistant",
                "content": f"DISCUSSION\nNext.\n```\n{command}\n```",
                "thought": "Next.",
                "action": command,
                "agent": "primary",
            }
        )
        said.append(
            {"role": "user", "content": f"{step.result}\n(Open file: n/a)\nbash-$", "agent": "primary"}
        )
    return as_json({"history": said, "info": {"id": ids}})


@form
def mini_swe_agent(run: Run, ids: str) -> bytes:
    said = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": ASKED}]
    for step in run:
        said.append({"role": "assistant", "content": f"THOUGHT: next.\n\n```bash\n{command_of(step)}\n```"})
        said.append(
            {"role": "user", "content": f"<returncode>0</returncode>\n<output>\n{step.result}\n</output>"}
        )
    return as_json({"info": {"cost": ids}, "messages": said})


@form
def react(run: Run, ids: str) -> bytes:
    said = [{"role": "user", "content": ASKED}]
    for step in run:
        text = f"Thought: next\nAction: {step.tool}\nAction Input: {json.dumps(step.arguments)}"
        said += [
            {"role": "assistant", "content": text},
            {"role": "user", "content": f"Observation: {step.result}"},
        ]
    return as_json({"id": ids, "messages": said})


@form
def tagged_calls(run: Run, ids: str) -> bytes:
    said = [{"from": "system", "value": SYSTEM}, {"from": "human", "value": ASKED}]
    for step in run:
        call = json.dumps({"name": step.tool, "arguments": step.arguments})
        said += [{"from": "gpt", "value": f"<think>\nnext\n</think>\n<tool_call>\n{call}\n</tool_call>"}]
        said += [{"from": "tool", "value": f"<tool_response>\n{step.result}\n</tool_response>"}]
    return as_json([{"id": ids, "conversations": said}])


@form
def openhands_events(run: Run, ids: str) -> bytes:
    events: list[dict[str, Any]] = [
        {"id": 0, "source": "agent", "action": "system", "args": {"content": SYSTEM, "tools": [TOOL]}},
        {"id": 1, "source": "user", "action": "message", "args": {"content": ASKED}, "timestamp": f"t{ids}"},
        {
            "id": 2,
            "source": "environment",
            "observation": "agent_state_changed",
            "content": "",
            "extras": {"agent_state": "running"},
        },
    ]
    for n, step in enumerate(run):
        number = 3 + 2 * n
        action = {
            "id": number,
            "source": "agent",
            "action": "run",
            "args": {"command": command_of(step), "thought": "Next."},
        }
        seen = {
            "id": number + 1,
            "source": "agent",
            "cause": number,
            "observation": "run",
            "content": step.result,
        }
        events += [
            {**action, "timestamp": f"t{ids}{n}"},
            {**seen, "extras": {"metadata": {"pid": ids, "hostname": ids}}},
        ]
    return as_lines([{"instance_id": "x-1", "history": events, "metrics": {"accumulated_cost": ids}}])


@form
def openhands_sdk(run: Run, ids: str) -> bytes:
    message = {"role": "user", "content": [{"type": "text", "text": ASKED}]}
    events: list[dict[str, Any]] = [
        {
            "kind": "SystemPromptEvent",
            "source": "agent",
            "system_prompt": {"type": "text", "text": SYSTEM},
            "tools": [TOOL],
        },
        {"kind": "MessageEvent", "id": f"{ids}m", "source": "user", "llm_message": message},
    ]
    for n, step in enumerate(run):
        head = {"tool_name": step.tool, "tool_call_id": f"call_{ids}{n}"}
        events.append(
            {
                "kind": "ActionEvent",
                "id": f"a{ids}{n}",
                "source": "agent",
                **head,
                "thought": [{"type": "text", "text": "Next."}],
                "action": {"kind": "BashAction", **step.arguments},
            }
        )
        seen = {"kind": "BashObservation", "content": [{"type": "text", "text": step.result}], "exit_code": 0}
        events.append(
            {
                "kind": "ObservationEvent",
                "id": f"o{ids}{n}",
                "source": "environment",
                **head,
                "observation": seen,
                "action_id": f"a{ids}{n}",
            }
        )
    return as_lines([{"instance_id": "x-1", "history": events}])


@form
def codex_exec(run: Run, ids: str) -> bytes:
    lines: list[dict[str, Any]] = [{"type": "thread.started", "thread_id": ids}, {"type": "turn.started"}]
    for n, step in enumerate(run):
        item = {
            "id": f"item_{n}",
            "type": "command_execution",
            "command": f"bash -lc '{command_of(step)}'",
            "aggregated_output": "",
            "status": "in_progress",
        }
        lines.append({"type": "item.started", "item": item})
        lines.append(
            {
                "type": "item.completed",
                "item": {**item, "aggregated_output": step.result, "exit_code": 0, "status": "completed"},
            }
        )
    lines.append({"type": "item.completed", "item": {"id": "z", "type": "agent_message", "text": "Hour 2."}})
    return as_lines([*lines, {"type": "turn.completed", "usage": {"input_tokens": len(ids)}}])


@form
def codex_protocol(run: Run, ids: str) -> bytes:
    lines: list[dict[str, Any]] = [{"id": "0", "msg": {"type": "task_started"}}]
    for n, step in enumerate(run):
        key = f"call_{ids}{n}"
        lines.append(
            {
                "id": "0",
                "msg": {
                    "type": "exec_command_begin",
                    "call_id": key,
                    "command": ["bash", "-lc", command_of(step)],
                    "cwd": "/repo",
                },
            }
        )
        end = {
            "type": "exec_command_end",
            "call_id": key,
            "stdout": step.result,
            "stderr": "",
            "exit_code": 0,
        }
        lines.append(
            {
                "id": "0",
                "msg": {**end, "formatted_output": step.result, "duration": {"secs": 0, "nanos": len(ids)}},
            }
        )
        lines.append({"id": "0", "msg": {"type": "token_count", "total": ids}})
    return as_lines(lines)


@form
def codex_bare_rollout(run: Run, ids: str) -> bytes:
    lines: list[dict[str, Any]] = [
        {"id": ids, "timestamp": "t", "instructions": None},
        {"record_type": "state"},
    ]
    lines.append({"type": "message", "role": "user", "content": [{"type": "input_text", "text": ASKED}]})
    for n, step in enumerate(run):
        key = f"call_{ids}{n}"
        lines.append(
            {
                "type": "function_call",
                "name": step.tool,
                "arguments": json.dumps(step.arguments),
                "call_id": key,
            }
        )
        lines.append({"type": "function_call_output", "call_id": key, "output": step.result})
    return as_lines(lines)


@form
def claude_stream(run: Run, ids: str) -> bytes:
    lines: list[dict[str, Any]] = [
        {"type": "system", "subtype": "init", "session_id": ids, "cwd": "/repo", "tools": ["Bash"]}
    ]
    for n, step in enumerate(run):
        use = {"type": "tool_use", "id": f"toolu_{ids}{n}", "name": step.tool, "input": step.arguments}
        lines.append(
            {
                "type": "assistant",
                "session_id": ids,
                "message": {"id": ids, "role": "assistant", "content": [use]},
            }
        )
        answer = {"type": "tool_result", "tool_use_id": use["id"], "content": step.result}
        lines.append({"type": "user", "session_id": ids, "message": {"role": "user", "content": [answer]}})
    return as_lines(
        [*lines, {"type": "result", "duration_ms": len(ids), "result": "Hour 2.", "session_id": ids}]
    )


@form
def opencode(run: Run, ids: str) -> bytes:
    parts = []
    for n, step in enumerate(run):
        state = {
            "status": "completed",
            "input": step.arguments,
            "output": step.result,
            "time": {"start": ids, "end": ids},
        }
        parts.append(
            {
                "id": f"prt_{ids}",
                "type": "tool",
                "tool": step.tool,
                "callID": f"call_{ids}{n}",
                "state": state,
            }
        )
    said = [
        {"info": {"role": "user", "id": ids}, "parts": [{"type": "text", "text": ASKED}]},
        {"info": {"role": "assistant", "id": ids}, "parts": parts},
    ]
    return as_json({"info": {"id": ids, "time": {"created": ids}}, "messages": said})


@form
def pydantic_ai(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [
        {
            "kind": "request",
            "parts": [
                {"part_kind": "system-prompt", "content": SYSTEM},
                {"part_kind": "user-prompt", "content": ASKED, "timestamp": ids},
            ],
        }
    ]
    for n, step in enumerate(run):
        head = {"tool_name": step.tool, "tool_call_id": f"call_{ids}{n}"}
        said.append(
            {
                "kind": "response",
                "timestamp": ids,
                "parts": [{"part_kind": "tool-call", **head, "args": json.dumps(step.arguments)}],
            }
        )
        said.append(
            {
                "kind": "request",
                "parts": [{"part_kind": "tool-return", **head, "content": step.result, "timestamp": ids}],
            }
        )
    return as_json(said)


@form
def autogen(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"source": "user", "type": "TextMessage", "content": ASKED}]
    for n, step in enumerate(run):
        key = f"call_{ids}{n}"
        said.append(
            {
                "source": "assistant",
                "type": "ToolCallRequestEvent",
                "content": [{"id": key, "name": step.tool, "arguments": json.dumps(step.arguments)}],
            }
        )
        said.append(
            {
                "source": "assistant",
                "type": "ToolCallExecutionEvent",
                "content": [{"call_id": key, "name": step.tool, "content": step.result, "is_error": False}],
            }
        )
    return as_json({"messages": said, "stop_reason": ids})


@form
def smolagents(run: Run, ids: str) -> bytes:
    steps: list[dict[str, Any]] = [{"task": ASKED}]
    for n, step in enumerate(run):
        call = {
            "id": f"call_{ids}{n}",
            "type": "function",
            "function": {"name": step.tool, "arguments": step.arguments},
        }
        steps.append(
            {
                "step_number": n,
                "timing": {"start": ids},
                "tool_calls": [call],
                "model_output": "Next.",
                "observations": step.result,
            }
        )
    return as_json({"steps": steps})


@form
def inspect_zip(run: Run, ids: str) -> bytes:
    said = chat(run, ids)
    for each in said:
        for call in each.get("tool_calls", ()):
            call["function"], call["arguments"] = (
                call["function"]["name"],
                json.loads(call["function"]["arguments"]),
            )
    last = {"choices": [{"message": said[-1]}], "completion": "Hour 2.", "time": 0.1}
    seen = said[3]["content"] if len(said) > 3 else ""
    event = {"event": "model", "input": said[:-1], "tools": [TOOL], "output": last, "timestamp": f"t{ids}"}
    kept = {f"h{ids}": seen}
    said = [
        {**each, "content": f"attachment://h{ids}"}
        if each["content"] == seen and each["role"] == "tool"
        else each
        for each in said
    ]
    sample = {
        "id": "station",
        "epoch": 1,
        "input": ASKED,
        "messages": said,
        "output": last,
        "events": [event],
        "attachments": kept,
    }
    with io.BytesIO() as data:
        with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("_journal/start.json", json.dumps({"run": ids}))
            archive.writestr("samples/station_epoch_1.json", json.dumps(sample))
            archive.writestr("summaries.json", json.dumps([{"id": "station", "input": ASKED, "uuid": ids}]))
            archive.writestr("header.json", json.dumps({"version": 2, "eval": {"created": ids}}))
        return data.getvalue()


@form
def atif(run: Run, ids: str) -> bytes:
    steps: list[dict[str, Any]] = [{"step_id": 1, "timestamp": ids, "source": "user", "message": ASKED}]
    for n, step in enumerate(run):
        call = {"tool_call_id": f"call_{ids}{n}", "function_name": step.tool, "arguments": step.arguments}
        seen = {"results": [{"source_call_id": call["tool_call_id"], "content": step.result}]}
        steps.append(
            {
                "step_id": n + 2,
                "source": "agent",
                "message": "Next.",
                "tool_calls": [call],
                "observation": seen,
                "metrics": {"prompt_tokens": len(ids)},
            }
        )
    return as_json({"schema_version": "ATIF-v1.4", "session_id": ids, "steps": steps})


@form
def traces(run: Run, ids: str) -> bytes:
    """A tracing service's export: spans, each model call with its whole input."""
    said = chat(run, ids)
    spans = [
        {
            "id": f"{ids}{n}",
            "type": "GENERATION",
            "startTime": ids,
            "input": {"messages": said[:n]},
            "output": said[n],
            "usage": {"total": n},
        }
        for n in range(2, len(said), 2)
    ]
    return as_json({"trace": {"id": ids, "latency": len(ids), "observations": spans}})


@form
def gemini_cli(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [{"id": ids, "type": "user", "content": ASKED, "timestamp": ids}]
    for n, step in enumerate(run):
        answer = {"id": f"{step.tool}-{ids}{n}", "name": step.tool, "response": {"output": step.result}}
        call = {
            "id": answer["id"],
            "name": step.tool,
            "args": step.arguments,
            "result": [{"functionResponse": answer}],
            "status": "success",
        }
        said.append(
            {
                "id": ids,
                "type": "gemini",
                "content": "",
                "toolCalls": [{**call, "timestamp": ids, "resultDisplay": ids}],
            }
        )
    return as_json({"sessionId": ids, "startTime": ids, "messages": said})


@form
def goose(run: Run, ids: str) -> bytes:
    said: list[dict[str, Any]] = [
        {"role": "user", "created": len(ids), "content": [{"type": "text", "text": ASKED}]}
    ]
    for n, step in enumerate(run):
        call = {"status": "success", "value": {"name": step.tool, "arguments": step.arguments}}
        said.append(
            {
                "role": "assistant",
                "content": [{"type": "toolRequest", "id": f"call_{ids}{n}", "toolCall": call}],
            }
        )
        result = {"status": "success", "value": [{"type": "text", "text": step.result}]}
        said.append(
            {
                "role": "user",
                "content": [{"type": "toolResponse", "id": f"call_{ids}{n}", "toolResult": result}],
            }
        )
    return as_lines(said)


@form
def telemetry_spans(run: Run, ids: str) -> bytes:
    """OpenTelemetry's spans of a model: the messages as text in an attribute."""
    said: list[dict[str, Any]] = [{"role": "user", "parts": [{"type": "text", "content": ASKED}]}]
    lines = []
    for n, step in enumerate(run):
        call = {"type": "tool_call", "id": f"call_{ids}{n}", "name": step.tool, "arguments": step.arguments}
        said.append({"role": "assistant", "parts": [call]})
        said.append(
            {
                "role": "tool",
                "parts": [{"type": "tool_call_response", "id": f"call_{ids}{n}", "response": step.result}],
            }
        )
        attributes = {"gen_ai.request.model": "m", "gen_ai.input.messages": json.dumps(said)}
        lines.append({"name": "chat m", "span_id": f"{ids}{n}", "start": ids, "attributes": attributes})
    return as_lines(lines)


@form
def openhands_pairs(run: Run, ids: str) -> bytes:
    """Actions with their observations, as older evaluations keep them."""
    pairs: list[list[dict[str, Any]]] = [
        [
            {"source": "user", "action": "message", "args": {"content": ASKED}},
            {"observation": "null", "content": ""},
        ]
    ]
    for n, step in enumerate(run):
        action = {
            "id": n,
            "timestamp": ids,
            "source": "agent",
            "action": "run",
            "args": {"command": command_of(step), "thought": ""},
        }
        pairs.append(
            [
                action,
                {"cause": n, "observation": "run", "content": step.result, "extras": {"command_id": ids}},
            ]
        )
    return as_lines([{"instance_id": "x-1", "history": pairs}])


@form
def cline(run: Run, ids: str) -> bytes:
    """Calls as tags, answers in user messages of several texts."""
    said: list[dict[str, Any]] = [
        {"role": "user", "content": [{"type": "text", "text": f"<task>\n{ASKED}\n</task>"}]}
    ]
    for step in run:
        call = f"Next.\n<execute_command>\n<command>{command_of(step)}</command>\n</execute_command>"
        said.append({"role": "assistant", "content": [{"type": "text", "text": call}]})
        texts = [f"[execute_command for '{command_of(step)}'] Result:", step.result]
        said.append(
            {"role": "user", "content": [{"type": "text", "text": each} for each in texts], "ts": ids}
        )
    return as_json(said)


@form
def langchain_steps(run: Run, ids: str) -> bytes:
    steps = [
        [
            {"tool": step.tool, "tool_input": step.arguments, "log": f"Next ({ids}).", "type": "AgentAction"},
            step.result,
        ]
        for step in run
    ]
    return as_json({"input": ASKED, "intermediate_steps": steps, "output": "Hour 2.", "run_id": ids})

"""What can be asked of a server that runs already: found out by asking it, before anything counts.

That a path answers with 200 proves nothing: some servers answer so to all. What counts is what the answer holds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import closing

from msgspec.structs import replace

from scripts.common.errors import EngineError, UnsupportedError
from scripts.engines.chat_answer import read_answer
from scripts.engines.counters import read_metrics, read_slots
from scripts.engines.http import Connection, Server
from scripts.engines.openai_server import PATH, rendered
from scripts.engines.server_kinds import SERVER_KINDS, Client
from scripts.engines.vllm_server import NOT_FORCED, VllmServer
from scripts.records.base import Value
from scripts.records.engine import Ability

QUESTION: list[dict[str, Value]] = [{"role": "user", "content": "Count from one to five."}]
IDS = list(range(16, 32))  # ids that every vocabulary has
TOKENS = 8
NO_IDS = "no: it takes a conversation, and no token ids"

# Who answers a path with such an object is that kind of server; anything else is a chat endpoint.
SIGNS: Mapping[str, tuple[str, Callable[[Mapping[str, object]], bool]]] = {
    "sglang": ("/get_model_info", lambda answer: isinstance(answer.get("model_path"), str)),
    "vllm": (
        "/version",
        lambda answer: isinstance(answer.get("version"), str) and set(answer) == {"version"},
    ),
    "llamacpp": ("/props", lambda answer: isinstance(answer.get("default_generation_settings"), dict)),
}


def find_kind(connection: Connection) -> str:
    """Which kind of server answers: vllm, sglang, llamacpp, or openai for any other chat endpoint."""
    for kind, (path, holds) in SIGNS.items():
        found = connection.found(path)
        if isinstance(found, dict) and holds(found):
            return kind
    return "openai"


def find_abilities(server: Server, kind: str, model: str) -> dict[str, Ability]:
    """What a server of a kind can be asked for, in the order in which tables show it."""
    with closing(Connection(server)) as connection:
        found = {"logprobs": _logprobs(connection, model)}
        if kind in SERVER_KINDS:
            with closing(SERVER_KINDS[kind].client(server, {}, model)) as client:
                found |= _with_ids(client)
        else:
            found |= dict.fromkeys(
                ("token ids", "forced decode", "prefill scores", "routing"), Ability(can=False, said=NO_IDS)
            )
        found["counters"] = _counters(connection)
        found["server's prompt"] = _prompt(connection, model)
    return found


def describe(abilities: Mapping[str, Ability]) -> str:
    """The table that is printed at the start."""
    width = max(map(len, abilities), default=0)
    return "\n".join(f"  {name:<{width}}  {each.said}" for name, each in abilities.items())


def _logprobs(connection: Connection, model: str) -> Ability:
    body: dict[str, Value] = {
        "model": model,
        "messages": QUESTION,
        "temperature": 0,
        "max_tokens": TOKENS,
    }
    response = connection.send("POST", PATH, {**body, "logprobs": True, "top_logprobs": 5})
    if response.status_code != 200:
        return Ability(can=False, said=f"no: a request for them is answered with {response.status_code}")
    try:
        answer = read_answer(connection.read(response, f"POST {PATH}"), 5)
    except (ValueError, EngineError) as error:
        return Ability(can=False, said=f"no: the answer is none ({_line(error)})")
    given = [token for token in answer.tokens if token.logprob is not None]
    if not given:
        return Ability(can=False, said="no: the answer has none")
    most = max(len(token.top) for token in given)
    if len(given) < len(answer.tokens):
        return Ability(can=True, said=f"in part: at {len(given)} of {len(answer.tokens)} tokens")
    if answer.bits() is None:
        return Ability(can=False, said="no: they are of other text than the answer")
    return Ability(can=True, said=f"yes, with {most} {'candidate' if most == 1 else 'candidates'} a token")


def _with_ids(client: Client) -> dict[str, Ability]:
    """What a client of the server's own interface can do, each by doing it."""

    def tried(attempt: Callable[[], object]) -> Ability:
        try:
            attempt()
        except EngineError as error:  # an UnsupportedError among them
            kind = "not possible on this server" if isinstance(error, UnsupportedError) else "no"
            what = _line(error.what)
            return Ability(can=False, said=what if what.startswith(kind) else f"{kind}: {what}")
        return Ability(can=True, said="yes")

    found = {
        "token ids": tried(lambda: client.generate(IDS, max_tokens=2, stop_ids=[], top_logprobs=2)),
    }
    if not found["token ids"].can:
        refused = replace(found["token ids"], said="no: it takes no token ids")
        return found | dict.fromkeys(("forced decode", "prefill scores", "routing"), refused)
    if isinstance(client, VllmServer):
        can = client.can_force()
        found["forced decode"] = Ability(can=can, said="yes" if can else NOT_FORCED)
    else:
        found["forced decode"] = tried(lambda: client.force(IDS, IDS[:2], top_logprobs=2))
    found["prefill scores"] = tried(lambda: client.score(IDS, top_logprobs=2))
    routed = client.names_experts()
    found["routing"] = Ability(can=routed, said="yes" if routed else "no: the answers name no experts")
    return found


def _counters(connection: Connection) -> Ability:
    if found := read_metrics(_text(connection, "/metrics")):
        return Ability(can=True, said=f"yes, by /metrics: {', '.join(found)}", path="/metrics")
    if found := read_slots(connection.found("/slots")):
        return Ability(can=True, said=f"in part, by /slots: {found['slots']} slots", path="/slots")
    return Ability(can=False, said="no: neither /metrics nor /slots counts anything")


def _text(connection: Connection, path: str) -> str:
    answer = connection.send("GET", path)
    return answer.content.decode("utf-8", "replace") if answer.status_code == 200 else ""


def _prompt(connection: Connection, model: str) -> Ability:
    for path in ("/apply-template", "/tokenize"):
        other = [{**QUESTION[0], "content": "Count from six to ten."}]
        first, second = (
            rendered(connection, path, {"model": model, "messages": each}) for each in (QUESTION, other)
        )
        if first is not None and second is not None and first != second:
            return Ability(can=True, said=f"yes, by {path}", path=path)
    return Ability(can=False, said="no: it does not say what it makes of a conversation")


def _line(what: object) -> str:
    return " ".join(str(what).split())[:160]

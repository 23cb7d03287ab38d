"""A grid: the file of config/grids/ as it is read, config.yaml, and the record of the grid that is made, grid.json."""

from __future__ import annotations

from typing import ClassVar, Literal

from scripts.records.base import FileRecord, Record
from scripts.records.question import QuestionAsked
from scripts.records.settings import Architecture
from scripts.records.sweep import SweepAsked


class Config(Record, frozen=True, kw_only=True):
    """config/config.yaml, the values of --config laid over."""

    grid: str
    """A file of config/grids/, or auto."""
    partial: bool
    """Make the table of what exists and run no session."""
    first_block: int
    """A first difference before this position (tokens) is of the class first-block."""
    tie_margin: float
    """A margin above it, nat, is no near-tie."""
    top_logprobs: int
    """How many candidates a position are recorded."""
    evict_weights: bool
    """Delete the weights of a quant once no cell needs them any more."""
    quantise_in: Literal["process", "docker"]
    """Where weights are quantised."""
    endpoint: str | None = None
    """Where a server that runs listens, for the grid external; null in any other."""
    endpoint_model: str | None = None
    """The model it is asked for; null is the first that it names."""
    endpoint_context: int = 32768
    """Tokens that prompt and answer may have together there."""
    tokenizer: str | None = None
    """A folder with the tokenizer of its model; null is text mode."""
    requests: str | None = None
    """A file of requests that are asked in place of the grid's workloads; null is these."""
    baseline: str | None = None
    """What `snakemake check` holds the grid's cells against; null is what the grid names."""
    rehearse: bool = False
    """Start every cell once with a drawn checkpoint of a few layers, and run no session."""
    rehearse_in: Literal["own", "process"] = "own"
    """Whether engines in containers are rehearsed as they are, or as the engine of their kind that is a process."""


class Estimate(Record, frozen=True, kw_only=True):
    """From what time is estimated."""

    tokens_per_replay: float
    """Tokens generated in a replay."""
    tokens_per_second: float
    """Tokens a second of a session, the reading of prompts included."""
    start_seconds: float
    """Seconds until the engine is ready."""


class EstimateChange(Record, frozen=True, kw_only=True):
    """What a block changes of the grid's estimate; null is left as it is."""

    tokens_per_replay: float | None = None
    """Tokens generated in a replay."""
    tokens_per_second: float | None = None
    """Tokens a second of a session."""
    start_seconds: float | None = None
    """Seconds until the engine is ready."""


class Passes(Record, frozen=True, kw_only=True):
    """How often a trajectory is fed back."""

    prefill: int
    """Passes in prefill."""
    decode: int
    """Passes in decode."""

    @property
    def by_mode(self) -> dict[str, int]:
        """Mode → passes."""
        return {"prefill": self.prefill, "decode": self.decode}


class Block(Record, frozen=True, kw_only=True):
    """Rows of a table: models × precisions × engines × variants. Null is what the grid says."""

    models: list[str]
    """Names of models.yaml."""
    precisions: list[str]
    """Precisions of each of these."""
    engines: list[str]
    """Engines of engines.yaml."""
    variants: list[str]
    """Variants of engines.yaml."""
    workload: str | None = None
    """What is asked."""
    sessions: int | None = None
    """Sessions a cell."""
    replays: int | None = None
    """Replays in each session."""
    forced: int | Passes | None = None
    """How often the first trajectory is fed back."""
    estimate: EstimateChange | None = None
    """From what time is estimated."""
    question: QuestionAsked | None = None
    """What is asked in place of a number of sessions."""
    sweep: SweepAsked | None = None
    """The axis that its cells are looked at along, for a page of results/curves/."""
    expect: list[str] | None = None
    """Makes its cells controls, with the classes they may read, or where their replays may part."""
    planned: str | None = None
    """Why it is listed but not run."""
    note: str | None = None
    """A remark that the table shows."""


class AblationWanted(Record, frozen=True, kw_only=True):
    """Variants of one deployment that are compared with a baseline."""

    model: str
    """The model."""
    precision: str
    """Its precision."""
    engine: str
    """The engine."""
    baseline: str
    """The variant that the others are compared with."""
    changes: list[str]
    """The variants."""
    question: str | None = None
    """What it is to tell, in one line."""


class PruningWanted(Record, frozen=True, kw_only=True):
    """Cells that are compared question by question, by their paths model/precision/engine/variant."""

    pruned: str
    """The cell with pruned experts."""
    against: list[str]
    """The cells that it is compared with."""


class GridFile(Record, frozen=True, kw_only=True):
    """A file of config/grids/."""

    description: str
    """One line on what the grid is."""
    workload: str
    """What is asked where a block does not say."""
    sessions: int
    """Sessions a cell."""
    replays: int
    """Replays in each session."""
    estimate: Estimate
    """From what time is estimated."""
    blocks: list[Block]
    """The rows, in their order."""
    forced: int | Passes = 5
    """How often the first session's first trajectory is fed back."""
    ablations: list[AblationWanted] = []
    """Pages of results/ablation/."""
    reap: list[PruningWanted] = []
    """What results/reap.md compares."""
    compare: list[tuple[str, str]] = []
    """Pairs of cells that pages of results/compare/ set side by side, by their paths."""
    baseline: str | None = None
    """What `snakemake check` holds the grid's cells against: a file of scripts.freeze, or a result."""


class GridCell(Record, frozen=True, kw_only=True, omit_defaults=True):
    """A row of the table as the grid asks for it."""

    model: str
    """The model."""
    precision: str
    """Its precision."""
    engine: str
    """The engine."""
    variant: str
    """The variant."""
    architecture: Architecture = "unknown"
    """dense, moe, or unknown."""
    workload: str | None = None
    """What it is asked."""
    sessions: int = 0
    """How many sessions; of a question, at most."""
    replays: int = 0
    """Replays in each."""
    forced: Passes | None = None
    """Passes of its recorded trajectory."""
    question: QuestionAsked | None = None
    """What is asked in place of a number of sessions."""
    sweep: SweepAsked | None = None
    """The axis that it is looked at along, for a page of results/curves/."""
    status: Literal["planned", "run"] = "run"
    """Whether it is run."""
    reason: str | None = None
    """Why it is not."""
    note: str | None = None
    """A remark that the table shows."""
    disk_gb: float | None = None
    """Disk that its weights are expected to take, 10^9 bytes."""
    gpu_memory_gb: float | None = None
    """GPU memory that they are expected to take, 10^9 bytes."""

    @property
    def path(self) -> str:
        """model/precision/engine/variant."""
        return f"{self.model}/{self.precision}/{self.engine}/{self.variant}"

    @property
    def folder(self) -> str:
        """The cell's folder, from the root."""
        return f"results/cells/{self.path}"

    @property
    def label(self) -> str:
        """What tells the row apart beside its model: the precision, and the variant where it is not base."""
        return self.precision if self.variant == "base" else f"{self.precision}, {self.variant}"


def fed_folder(folder: str, source: str) -> str:
    """Where the passes of the cell in `folder` over the trajectory of another are; `source`: that one's path."""
    return f"{folder}/fed/{source.replace('/', '--')}"


def compare_page(path: str) -> str:
    """The page that sets a cell beside others, from the root; `path`: the cell's."""
    return f"results/compare/{path.replace('/', '-')}.md"


class Control(Record, frozen=True, kw_only=True):
    """A cell whose class is known beforehand."""

    cell: str
    """model/precision/engine/variant."""
    expect: list[str]
    """The classes it may read, or where its replays may part."""


class Change(Record, frozen=True, kw_only=True):
    """A change that an ablation compares with its baseline."""

    variant: str
    """The variant."""
    changed: list[str]
    """The settings in which it differs, `key: from → to`, sorted."""


class AblationRecord(Record, frozen=True, kw_only=True):
    """An ablation that the grid has."""

    model: str
    """The model."""
    precision: str
    """Its precision."""
    engine: str
    """The engine."""
    baseline: str
    """The variant that the others are compared with."""
    changes: list[Change]
    """The changes."""
    question: str | None = None
    """What it is to tell; null where nobody said."""


class LeakPair(Record, frozen=True, kw_only=True):
    """Two cells that differ in their harness's listing alone, by their paths."""

    clean: str
    """The one that shows names and sizes."""
    leaky: str
    """The one that shows times and all."""


class WarmPair(Record, frozen=True, kw_only=True):
    """A cell that keeps its prefix cache from replay to replay beside one that has none, by their paths."""

    kept: str
    """The one that keeps it."""
    uncached: str | None
    """The one that is the same without it; null where the grid has none."""


class Grid(FileRecord, frozen=True, kw_only=True):
    """results/grid.json: the grid that is made, its cells in row order, controls, ablations, side tables."""

    REMEDY: ClassVar[str] = "write it again: snakemake --cores 1 -R write_grid -- results/table.md"

    heading: str
    """The grid, why it was chosen, its size and cost, in one line."""
    cells: list[GridCell]
    """Its rows, in their order."""
    controls: list[Control]
    """Its controls."""
    grid: str = ""
    """Its name."""
    why: str = ""
    """Why it was chosen."""
    description: str = ""
    """What it is, in one line."""
    workload: str | None = None
    """What is asked where a block does not say."""
    requests: str | None = None
    """The file of requests that are asked in place of its workloads, from the root; missing where there is none.
    One that lies elsewhere is named alone: it is no part of an archive."""
    first_block: int = 16
    """Differences before this position count as of the first block."""
    tie_margin: float = 0.25
    """A larger margin, nat, is no near-tie."""
    top_logprobs: int = 5
    """How many candidates a position are recorded."""
    partial: bool = False
    """Whether the table is of what exists."""
    ablations: list[AblationRecord] = []
    """Its ablations."""
    leaks: list[LeakPair] = []
    """What results/leak.md compares."""
    reap: list[PruningWanted] = []
    """What results/reap.md compares."""
    compare: list[tuple[str, str]] = []
    """Pairs of cells that pages of results/compare/ set side by side, by their paths."""
    warm: list[WarmPair] = []
    """What results/warm.md compares."""

    @property
    def compared(self) -> dict[str, list[tuple[str, str]]]:
        """The pages of results/compare/, from the root, each with its pairs: one page for each first cell."""
        pages: dict[str, list[tuple[str, str]]] = {}
        for pair in self.compare:
            pages.setdefault(compare_page(pair[0]), []).append(pair)
        return pages

    def fed(self, cell: GridCell) -> list[str]:
        """The paths of the cells whose trajectories a cell is fed, where these are forced."""
        return [one for one, other in self.compare if other == cell.path]


class ControlReading(Record, frozen=True, kw_only=True):
    """What a control read."""

    cell: str
    """model/precision/engine/variant."""
    expect: list[str]
    """The classes it may read, or where its replays may part."""
    found: str
    """The cell's class, with where its replays part where that is expected; or why it was not run."""
    ok: bool | None
    """Whether it read as it must; null where it was not checked."""


class Controls(FileRecord, frozen=True, kw_only=True):
    """results/controls.json."""

    REMEDY: ClassVar[str] = "make the table again: snakemake --cores 1 results/table.md"

    ok: bool
    """Whether no control came out otherwise."""
    controls: list[ControlReading]
    """What each read."""

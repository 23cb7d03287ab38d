"""The side tables that a grid can make beside its table, and the cells that each is made from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from scripts.common.configs import place
from scripts.common.errors import ConfigError, nearest
from scripts.grid.configuration import Configuration
from scripts.grid.resolve import Cell, cell_settings
from scripts.records.grid import LeakPair, PruningWanted, WarmPair
from scripts.records.settings import Settings
from scripts.sessions.load import KEEPS_NOTHING

LEAK, REAP, SPEED, WARM, NEAR_TIES = (
    f"results/{name}.md" for name in ("leak", "reap", "speed", "warm", "near-ties")
)
WANTED = {
    LEAK: "two cells that differ in the harness's listing alone (list_files: names and ls)",
    REAP: "a key `reap` with the pruned cell and those it is compared with",
    SPEED: "a cell that is run",
    NEAR_TIES: "a cell that is run",
    WARM: "a cell whose harness keeps the prefix cache from replay to replay (prefix_cache: kept)",
}
COUNTING = (
    "enable_prompt_tokens_details"  # an argument by which answers say what was cached, and nothing else
)


@dataclass(frozen=True)
class Comparison:
    """A pruned cell, and the cells that it is compared with, question by question."""

    pruned: Cell
    against: tuple[Cell, ...]


def leak_pairs(configuration: Configuration, cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The cells that differ in their harness's listing alone: the clean one (names), the leaky one (ls)."""
    known: dict[str, list[tuple[str, Cell]]] = {}
    for cell in cells:
        if cell.planned is None:
            settings = cell_settings(configuration, cell)
            harness = replace(settings.harness, list_files="names")
            rest = f"{replace(settings, variant='', harness=harness)} {cell.workload}"
            known.setdefault(rest, []).append((settings.harness.list_files, cell))
    pairs = []
    for alike in known.values():
        clean = next((cell for listing, cell in alike if listing == "names"), None)
        pairs += [(clean, cell) for listing, cell in alike if listing == "ls" and clean is not None]
    return pairs


def warm_pairs(configuration: Configuration, cells: Sequence[Cell]) -> list[tuple[Cell, Cell | None]]:
    """The cells that keep their prefix cache, each with the one that is the same without, where the grid has it."""
    run = [(cell, cell_settings(configuration, cell)) for cell in cells if cell.planned is None]
    plain = {
        _without_cache(cell, settings): cell
        for cell, settings in reversed(run)
        if settings.harness.prefix_cache == "emptied" and _caches_nothing(settings)
    }
    return [
        (cell, plain.get(_without_cache(cell, settings)))
        for cell, settings in run
        if settings.harness.prefix_cache == "kept"
    ]


def _caches_nothing(settings: Settings) -> bool:
    key, value = KEEPS_NOTHING.get(settings.kind, ("", None))
    return settings.arguments.get(key) == value


def _without_cache(cell: Cell, settings: Settings) -> str:
    """What a cell has in common with the one that keeps its prefix cache: all but the cache and its counter."""
    key, _ = KEEPS_NOTHING.get(settings.kind, ("", None))
    arguments, asked = (
        {name: value for name, value in given.items() if name not in (key, COUNTING)}
        for given in (settings.arguments, settings.asked)
    )
    harness = replace(settings.harness, prefix_cache="emptied")
    rest = replace(settings, variant="", harness=harness, arguments=arguments, asked=asked)
    return f"{rest} {cell.workload}"


def comparisons(configuration: Configuration, cells: Sequence[Cell]) -> list[Comparison]:
    """What the grid's key `reap` lists; ConfigError for a cell that the grid lacks, does not run or asks otherwise."""
    listed = _Listed(configuration, cells)
    found = []
    for index, entry in enumerate(configuration.grid.reap):
        pruned = listed.cell(entry.pruned, "reap", index, "pruned")
        against = [
            listed.alike(pruned, path, "reap", index, "against", number)
            for number, path in enumerate(entry.against)
        ]
        found.append(Comparison(pruned, tuple(against)))
    return found


@dataclass(frozen=True)
class _Listed:
    """The cells of a grid, as its keys name them by their paths."""

    configuration: Configuration
    cells: Sequence[Cell]

    def cell(self, path: str, *keys: str | int) -> Cell:
        """A cell that is run; ConfigError, at the grid's `keys`, where there is none."""
        known = {cell.path: cell for cell in self.cells}
        if path not in known:
            raise ConfigError(
                f"the grid does not list the cell {path}", where=self._at(keys), remedy=nearest(path, known)
            )
        if known[path].planned is not None:
            raise ConfigError(f"the cell {path} is planned, not run", where=self._at(keys))
        return known[path]

    def alike(self, one: Cell, path: str, *keys: str | int) -> Cell:
        """A cell that is run and asked what `one` is."""
        other = self.cell(path, *keys)
        if other.workload != one.workload:
            raise ConfigError(
                f"{path} is asked {other.workload}, {one.path} {one.workload}",
                where=self._at(keys),
                remedy="cells are compared turn by turn: give both one workload",
            )
        return other

    def _at(self, keys: Sequence[str | int]) -> str:
        return place(str(self.configuration.root / self.configuration.grid_file), [*keys])


def compared_pairs(configuration: Configuration, cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """What the grid's key `compare` lists; ConfigError as for `comparisons`."""
    listed = _Listed(configuration, cells)
    found = []
    for index, (path, against) in enumerate(configuration.grid.compare):
        one = listed.cell(path, "compare", index, 0)
        found.append((one, listed.alike(one, against, "compare", index, 1)))
    return found


def fed_cells(configuration: Configuration, cells: Sequence[Cell]) -> list[tuple[Cell, Cell]]:
    """The pairs of `compare` whose second cell is fed the first one's trajectory: of one model, the first one forced.

    Of another model ids mean other things.
    """
    return [
        (one, other)
        for one, other in compared_pairs(configuration, cells)
        if one.model == other.model and one.forced_file
    ]


def side_tables(configuration: Configuration, cells: Sequence[Cell]) -> dict[str, list[Cell]]:
    """The side tables that the grid can make, and the cells that each is made from."""
    leaks = [cell for pair in leak_pairs(configuration, cells) for cell in pair]
    compared = [cell for each in comparisons(configuration, cells) for cell in (each.pruned, *each.against)]
    warm = [cell for pair in warm_pairs(configuration, cells) for cell in pair if cell is not None]
    run = [cell for cell in cells if cell.planned is None]
    found = {LEAK: leaks, REAP: compared, SPEED: run, NEAR_TIES: run, WARM: warm}
    return {
        file: list({cell.path: cell for cell in made_from}.values())
        for file, made_from in found.items()
        if made_from
    }


def leak_records(configuration: Configuration, cells: Sequence[Cell]) -> list[LeakPair]:
    """The key `leaks` of results/grid.json, cells by their paths."""
    return [LeakPair(clean=clean.path, leaky=leaky.path) for clean, leaky in leak_pairs(configuration, cells)]


def warm_records(configuration: Configuration, cells: Sequence[Cell]) -> list[WarmPair]:
    """The key `warm` of results/grid.json, cells by their paths."""
    return [
        WarmPair(kept=kept.path, uncached=uncached.path if uncached else None)
        for kept, uncached in warm_pairs(configuration, cells)
    ]


def reap_records(configuration: Configuration, cells: Sequence[Cell]) -> list[PruningWanted]:
    """The key `reap` of results/grid.json, cells by their paths."""
    return [
        PruningWanted(pruned=each.pruned.path, against=[cell.path for cell in each.against])
        for each in comparisons(configuration, cells)
    ]

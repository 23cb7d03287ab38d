"""Ablations: which variants of one deployment are compared, and in which settings each differs from the baseline."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from scripts.common.configs import place
from scripts.common.errors import ConfigError, nearest
from scripts.common.files import canonical_json
from scripts.grid.configuration import ENGINES, MODELS, Configuration
from scripts.grid.resolve import Cell, cell_settings
from scripts.records.base import Value
from scripts.records.grid import AblationRecord, AblationWanted, Change
from scripts.records.settings import Settings


@dataclass(frozen=True)
class Ablation:
    """One list of changes to the `baseline` variant of a deployment, and what it is to tell, if that is said."""

    model: str
    precision: str
    engine: str
    baseline: str
    changes: tuple[str, ...]
    question: str | None

    @property
    def file(self) -> str:
        """The page that it is on, from the root; ablations of one deployment share it."""
        return f"results/ablation/{self.model}-{self.precision}-{self.engine}.md"

    @property
    def cells(self) -> list[tuple[str, str, str, str]]:
        """The cells that it compares, the baseline's first."""
        return [(self.model, self.precision, self.engine, name) for name in (self.baseline, *self.changes)]


def resolve_ablations(configuration: Configuration, cells: Sequence[Cell]) -> list[Ablation]:
    """The grid's ablations; ConfigError for unknown names, cells that the grid lacks, changes that change nothing."""
    file = str(configuration.root / configuration.grid_file)
    known = {(cell.model, cell.precision, cell.engine, cell.variant): cell for cell in cells}
    found: list[Ablation] = []
    for index, given in enumerate(configuration.grid.ablations):
        keys: list[str | int] = ["ablations", index]
        _check_names(configuration, given, file, keys)
        ablation = Ablation(
            model=given.model,
            precision=given.precision,
            engine=given.engine,
            baseline=given.baseline,
            changes=tuple(given.changes),
            question=given.question,
        )
        if any(each.cells[0] == ablation.cells[0] for each in found):
            raise ConfigError(
                f"there already is an ablation of {'/'.join(ablation.cells[0])}",
                where=place(file, keys),
                remedy="list all changes of one baseline in one ablation",
            )
        places = [
            [*keys, "baseline"],
            *([*keys, "changes", number] for number in range(len(given.changes))),
        ]
        for cell, spot in zip(ablation.cells, places, strict=True):
            if cell not in known:
                raise ConfigError(
                    f"the grid does not list the cell {'/'.join(cell)}",
                    where=place(file, spot),
                    remedy=f"list {cell[3]} in a block with {cell[0]}, {cell[1]} and {cell[2]}, or take it out here",
                )
        baseline = known[ablation.cells[0]]
        for cell, spot in zip(ablation.cells[1:], places[1:], strict=True):
            if not changed_settings(configuration, baseline, known[cell]):
                raise ConfigError(
                    f"{cell[3]!r} changes nothing of {ablation.baseline!r}",
                    where=place(file, spot),
                    remedy="a change has other settings than the baseline",
                )
        found.append(ablation)
    return found


def ablation_records(configuration: Configuration, cells: Sequence[Cell]) -> list[AblationRecord]:
    """The `ablations` of results/grid.json: names, question, and what each change changes, `key: from → to`."""
    known = {(cell.model, cell.precision, cell.engine, cell.variant): cell for cell in cells}
    return [
        AblationRecord(
            model=each.model,
            precision=each.precision,
            engine=each.engine,
            baseline=each.baseline,
            question=each.question,
            changes=[
                Change(
                    variant=cell[3],
                    changed=changed_settings(configuration, known[each.cells[0]], known[cell]),
                )
                for cell in each.cells[1:]
            ],
        )
        for each in resolve_ablations(configuration, cells)
    ]


def changed_settings(configuration: Configuration, baseline: Cell, cell: Cell) -> list[str]:
    """The settings in which a cell differs from its baseline, `key: from → to`, sorted by key."""
    before, after = (_flat(cell_settings(configuration, each)) for each in (baseline, cell))
    return [
        f"{key}: {before.get(key, 'not given')} → {after.get(key, 'not given')}"
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def _flat(settings: Settings) -> dict[str, str]:
    container = settings.container.as_json() if settings.container else {}
    caches: dict[str, Value] = {"warm_tuning": True} if settings.warm_tuning else {}
    sections = (settings.arguments, settings.environment, settings.harness.as_json(), container, caches)
    return {key: canonical_json(value) for section in sections for key, value in section.items()}


def _check_names(
    configuration: Configuration, given: AblationWanted, file: str, keys: list[str | int]
) -> None:
    """Model, precision, engine, baseline and changes are known."""
    models = configuration.models
    precisions = models[given.model].precisions if given.model in models else {}
    variants = configuration.variants
    named: list[tuple[str, str, Collection[str], str, list[str | int]]] = [
        ("model", given.model, models, MODELS, ["model"]),
        ("precision", given.precision, precisions, f"{MODELS}: {given.model}", ["precision"]),
        ("engine", given.engine, configuration.engines, ENGINES, ["engine"]),
        ("variant", given.baseline, variants, ENGINES, ["baseline"]),
    ]
    for number, name in enumerate(given.changes):
        named.append(("variant", name, variants, ENGINES, ["changes", number]))
    for kind, name, names, home, spot in named:
        if name not in names:
            raise ConfigError(
                f"there is no {kind} {name!r} in {home}",
                where=place(file, [*keys, *spot]),
                remedy=nearest(name, names),
            )

"""Files that are asked for by name: a mistyped one is refused at once, with the nearest that there is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from scripts.common.errors import ConfigError, nearest
from scripts.grid.ablations import resolve_ablations
from scripts.grid.configuration import Configuration
from scripts.grid.resolve import Cell
from scripts.grid.side_tables import WANTED, compared_pairs, side_tables
from scripts.grid.sweeps import curve_file, curves
from scripts.records.grid import compare_page

PARTS = ("model", "precision", "engine", "variant")
# What every grid makes right under results/; side tables beside it.
FILES = (
    "results/controls.json",
    "results/grid.json",
    "results/provenance.zip",
    "results/report.html",
    "results/table.csv",
    "results/table.md",
)
CHECKED = ("results/check.json", "results/check.xml")
REHEARSAL = "results/rehearsal.md"


def check_targets(targets: Iterable[str], configuration: Configuration, cells: Sequence[Cell]) -> None:
    """Refuse a target under results/ that no rule makes, or of a model, precision, engine, variant or session that the
    grid does not have.

    Targets elsewhere, and names of rules, are left to Snakemake. Raises ConfigError with the nearest name.
    """
    for target in targets:
        if target in ("check", *CHECKED):
            _check_baseline(target, configuration)
        parts = target.removeprefix("./").rstrip("/").split("/")
        if parts[:2] == ["results", "cells"]:
            _check_cell(target, parts[2:], configuration, cells)
        elif parts[:2] == ["results", "quants"]:
            _check_path(target, parts[2:4], [(cell.model, cell.precision) for cell in cells], configuration)
        elif parts[:2] == ["results", "ablation"]:
            pages = dict.fromkeys(each.file for each in resolve_ablations(configuration, cells))
            if (page := "/".join(parts)) not in pages:
                raise ConfigError(
                    f"the grid {configuration.grid_name} has no such ablation",
                    where=target,
                    remedy=nearest(page, pages),
                )
        elif parts[:2] == ["results", "compare"]:
            pages = {compare_page(one.path): "" for one, _ in compared_pairs(configuration, cells)}
            if (page := "/".join(parts)) not in pages:
                raise ConfigError(
                    f"the grid {configuration.grid_name} has no such comparison",
                    where=target,
                    remedy=nearest(page, pages) if pages else "its key `compare` names pairs of cells",
                )
        elif parts[:2] == ["results", "curves"]:
            pages = {curve_file(name): "" for name in curves(configuration, cells)}
            if (page := "/".join(parts)).removesuffix(".svg").removesuffix(".md") + ".md" not in pages:
                raise ConfigError(
                    f"the grid {configuration.grid_name} has no such sweep",
                    where=target,
                    remedy=nearest(page, pages),
                )
        elif "/".join(parts) in WANTED:
            if "/".join(parts) not in side_tables(configuration, cells):
                raise ConfigError(
                    f"the grid {configuration.grid_name} has nothing to make it from",
                    where=target,
                    remedy=f"it takes {WANTED['/'.join(parts)]}; grids that have it are in config/grids/",
                )
        elif "/".join(parts) == REHEARSAL:
            raise ConfigError(
                "a rehearsal makes this file",
                where=target,
                remedy="add --config rehearse=true after the target",
            )
        elif parts[0] == "results" and len(parts) == 2 and "/".join(parts) not in FILES:
            raise ConfigError(
                "nothing makes this file", where=target, remedy=nearest("/".join(parts), [*FILES, *WANTED])
            )
        elif parts[:2] == ["results", "engines"] and len(parts) > 2:
            engines = dict.fromkeys(cell.engine for cell in cells)
            if parts[2].removesuffix(".json") not in engines:
                raise ConfigError(
                    f"the grid {configuration.grid_name} has no engine {parts[2].removesuffix('.json')!r}",
                    where=target,
                    remedy=nearest(parts[2].removesuffix(".json"), engines),
                )


def _check_baseline(target: str, configuration: Configuration) -> None:
    """Refuse a check of a grid against nothing or against what is not there, and by another name."""
    named = configuration.baseline
    if target != "check":
        raise ConfigError(
            "it is written by the target `check`", where=target, remedy="snakemake --cores 1 check"
        )
    if named is None:
        raise ConfigError(
            "no baseline is named",
            where=target,
            remedy="keep one: python -m scripts.freeze results baseline.json; name it: --config baseline=baseline.json",
        )
    if not (configuration.root / named).exists():
        raise ConfigError(
            "there is no such baseline",
            where=named,
            remedy="make it: python -m scripts.freeze RESULT baseline.json",
        )


def _check_cell(target: str, parts: list[str], configuration: Configuration, cells: Sequence[Cell]) -> None:
    keys = [(cell.model, cell.precision, cell.engine, cell.variant) for cell in cells]
    _check_path(target, parts[:4], keys, configuration)
    cell = next(cell for cell in cells if cell.path == "/".join(parts[:4]))
    if cell.planned is not None:
        raise ConfigError(
            f"the cell {cell.path} is planned, not run ({cell.planned})",
            where=target,
            remedy=f"take `planned` out of its block in {configuration.grid_file}",
        )
    files = [f"{cell.folder}/cell.json", *cell.session_files, *cell.round_files, *cell.sweep_files]
    path = f"{cell.folder}/{'/'.join(parts[4:])}"
    if path not in files:
        raise ConfigError(
            f"the grid {configuration.grid_name} makes no such file",
            where=target,
            remedy=nearest(path, files),
        )


def _check_path(
    target: str, given: list[str], known: Sequence[tuple[str, ...]], configuration: Configuration
) -> None:
    """Each part of `given` after the other, among the entries of `known` that agree so far."""
    for index, name in enumerate(given):
        choices = dict.fromkeys(entry[index] for entry in known)
        if name not in choices:
            before = f" of {'/'.join(given[:index])}" if index else ""
            raise ConfigError(
                f"the grid {configuration.grid_name} has no {PARTS[index]} {name!r}{before}",
                where=target,
                remedy=nearest(name, choices),
            )
        known = [entry for entry in known if entry[index] == name]
    if len(given) < len(known[0]):
        raise ConfigError(
            f"the path ends before its {PARTS[len(given)]}",
            where=target,
            remedy=nearest("", dict.fromkeys(entry[len(given)] for entry in known)),
        )

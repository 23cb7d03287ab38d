"""Everything in config/ that a grid needs, loaded and checked at once, before anything is computed.

A dict[str, Any] here is what --config gave, or a file's content before it is checked.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from scripts.common.configs import check_schema, load_yaml, place, plain_value
from scripts.common.errors import ConfigError, nearest
from scripts.grid.choose import choose_grid
from scripts.records.base import convert
from scripts.records.engines import EngineEntry, Engines, Variant
from scripts.records.grid import Config, GridFile
from scripts.records.models import Model, Precision, source_quant
from scripts.workload.spec import load_workload
from scripts.workload.workloads import Workload

T = TypeVar("T")

CONFIG = "config/config.yaml"
MODELS = "config/models.yaml"
ENGINES = "config/engines.yaml"
FOLDERS = {"source": "a checkpoint or of its config.json", "chat": "a tokenizer and chat template"}


@dataclass(frozen=True)
class Configuration:
    """The checked contents of config/, with the command line's values laid over config.yaml.

    `grid_name`, `why`: the grid that is made and the reason in words. `grid`: its file's content.
    `overrides`: what the command line gave, as texts. `workloads`: by name, each workload's file and those it reads.
    `asked`: what each of them asks.
    """

    root: Path
    config: Config
    overrides: dict[str, str]
    grid_name: str
    why: str
    grid: GridFile
    models: dict[str, Model]
    engines: dict[str, EngineEntry]
    variants: dict[str, Variant]
    workloads: dict[str, tuple[str, ...]]
    asked: dict[str, Workload]

    @property
    def grid_file(self) -> str:
        """The grid's file, from the root."""
        return f"config/grids/{self.grid_name}.yaml"

    @property
    def files(self) -> list[str]:
        """The files that the grid's record is made from, from the root."""
        return [CONFIG, MODELS, ENGINES, self.grid_file]

    @property
    def baseline(self) -> str | None:
        """What the grid's cells are checked against: a file or folder; the command line's before the grid's."""
        return self.config.baseline or self.grid.baseline

    def precision(self, model: str, precision: str) -> Precision:
        """The entry of models.yaml of a quant."""
        return self.models[model].precisions[precision]


def load_configuration(
    root: Path, overrides: Mapping[str, Any] | None = None, why: str | None = None
) -> Configuration:
    """Load and check config.yaml, models.yaml, engines.yaml, the grid and its workload under `root`.

    `overrides`: the values of `--config`. `why`: the reason for the grid, where it was settled before.
    Raises ConfigError naming file, key and remedy at the first mistake.
    """
    config, given = _settings(root, overrides or {})
    models = _checked(root, MODELS, "models", dict[str, Model])
    tools = _checked(root, ENGINES, "engines", Engines)
    _check_recipes(root, models)
    _check_variants(root, tools.variants)
    chosen = choose_grid(config.grid, "--config" if "grid" in given else CONFIG, grid_names(root))
    file = f"config/grids/{chosen.name}.yaml"
    grid = _checked(root, file, "grid", GridFile)
    if config.requests is not None:
        grid = _asking(grid, Path(config.requests).stem)
    workloads = _workloads(root, file, grid, config.requests)
    return Configuration(
        root=root,
        config=config,
        overrides=given,
        grid_name=chosen.name,
        why=why or chosen.why,
        grid=grid,
        models=models,
        engines=tools.engines,
        variants=tools.variants,
        workloads={name: files for name, (files, _) in workloads.items()},
        asked={name: read for name, (_, read) in workloads.items()},
    )


def grid_names(root: Path) -> list[str]:
    """The names of the grids under `root`, sorted."""
    return sorted(path.stem for path in (root / "config/grids").glob("*.yaml"))


def workload_names(root: Path) -> list[str]:
    """The names of the workloads under `root`, sorted."""
    return sorted(path.stem for path in (root / "config/workloads").glob("*.yaml"))


def _checked(root: Path, file: str, schema: str, kind: type[T]) -> T:
    value = load_yaml(root / file)
    check_schema(value, schema, str(root / file))
    return convert(kind, value, str(root / file))


def _settings(root: Path, overrides: Mapping[str, Any]) -> tuple[Config, dict[str, str]]:
    """config.yaml with the values of --config, and of these those that change it, as texts."""
    written: dict[str, Any] = load_yaml(root / CONFIG)
    check_schema(written, "config", str(root / CONFIG))
    for key in overrides:
        if key not in written:
            raise ConfigError(f"unknown key {key!r}", where="--config", remedy=nearest(key, written))
    # Snakemake hands most values of the command line on as texts.
    given = {key: plain_value(value) if isinstance(value, str) else value for key, value in overrides.items()}
    config = {**written, **given}
    check_schema(config, "config", "--config")
    changed = {key: value for key, value in given.items() if value != written[key] or key == "grid"}
    return convert(Config, config, "--config"), {key: _text(value) for key, value in changed.items()}


def _text(value: object) -> str:
    """A value of config.yaml as a text that stands for it on a command line."""
    return (
        ",".join(value) if isinstance(value, list) else value if isinstance(value, str) else json.dumps(value)
    )


def _check_recipes(root: Path, models: Mapping[str, Model]) -> None:
    """Precisions that are made from another name one that there is, without a circle; sources are there."""
    file = str(root / MODELS)
    for model, entry in models.items():
        if entry.stand_in is not None and entry.stand_in.model not in models:
            raise ConfigError(
                f"there is no model {entry.stand_in.model!r}",
                where=place(file, [model, "stand_in", "model"]),
                remedy=nearest(entry.stand_in.model, models),
            )
        for precision, recipe in entry.precisions.items():
            keys = [model, "precisions", precision]
            for key, folder in (("source", recipe.source), ("chat", recipe.chat)):
                if folder is not None and not (root / folder).is_dir():
                    raise ConfigError(
                        f"there is no folder {folder}",
                        where=place(file, [*keys, key]),
                        remedy=f"name the folder of {FOLDERS[key]}, from the repository's root",
                    )
            seen = [(model, precision)]
            while (source := models[seen[-1][0]].precisions[seen[-1][1]].from_) is not None:
                at = [seen[-1][0], "precisions", seen[-1][1], "from"]
                other, name = source_quant(seen[-1][0], source)
                if other not in models:
                    raise ConfigError(
                        f"there is no model {other!r}", where=place(file, at), remedy=nearest(other, models)
                    )
                if name not in models[other].precisions:
                    raise ConfigError(
                        f"{other} has no precision {name!r}",
                        where=place(file, at),
                        remedy=nearest(name, models[other].precisions),
                    )
                seen.append((other, name))
                if len(set(seen)) < len(seen):
                    circle = " from ".join(each if of == model else f"{of}/{each}" for of, each in seen)
                    raise ConfigError(f"{circle}: a circle", where=place(file, [*keys, "from"]))


def _check_variants(root: Path, variants: Mapping[str, Variant]) -> None:
    """`base` changes nothing, every other variant changes something."""
    for name, variant in variants.items():
        if (name == "base") != bool(variant.changes):
            continue
        where = place(str(root / ENGINES), ["variants", name])
        if name == "base":
            raise ConfigError(
                f"base changes {', '.join(variant.changes)}",
                where=where,
                remedy="name the change as a variant of its own",
            )
        raise ConfigError(
            "the variant changes nothing", where=where, remedy="give arguments, environment or harness"
        )


def _asking(grid: GridFile, requests: str) -> GridFile:
    """The grid with requests of one's own in place of its workloads."""
    blocks = [msgspec.structs.replace(block, workload=None) for block in grid.blocks]
    return msgspec.structs.replace(grid, workload=requests, blocks=blocks)


def _workloads(
    root: Path, file: str, grid: GridFile, requests: str | None
) -> dict[str, tuple[tuple[str, ...], Workload]]:
    """The grid's workloads by name, each with its file and those that it reads."""
    if requests is not None:
        return {grid.workload: ((requests,), load_workload(root / requests))}
    return {name: _workload_files(root, file, keys, name) for name, keys in _workload_keys(grid).items()}


def _workload_keys(grid: GridFile) -> dict[str, list[str | int]]:
    """The workloads of a grid and its blocks, and where in the grid's file each is first named."""
    found: dict[str, list[str | int]] = {grid.workload: ["workload"]}
    for index, block in enumerate(grid.blocks):
        if block.workload is not None:
            found.setdefault(block.workload, ["blocks", index, "workload"])
    return found


def _workload_files(
    root: Path, grid_file: str, keys: list[str | int], name: str
) -> tuple[tuple[str, ...], Workload]:
    """The workload's file and those it reads, from the root, and the workload."""
    path = Path(f"config/workloads/{name}.yaml")
    if not (root / path).is_file():
        raise ConfigError(
            f"there is no workload {name!r}",
            where=place(str(root / grid_file), keys),
            remedy=nearest(name, workload_names(root)),
        )
    workload = load_workload(root / path)
    raw = load_yaml(root / path)
    if "requests" in raw:
        return (path.as_posix(), (path.parent / raw["requests"]).as_posix()), workload
    read = [
        (path.parent / content["path"]).as_posix()
        for scenario in raw["scenarios"]
        for content in scenario["files"].values()
        if "path" in content
    ]
    return (path.as_posix(), *dict.fromkeys(read)), workload

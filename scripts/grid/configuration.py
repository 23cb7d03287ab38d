"""Everything in config/ that a grid needs, loaded and checked at once, before anything is computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scripts.common.configs import check_schema, load_yaml, place, plain_value
from scripts.common.errors import ConfigError, nearest
from scripts.grid.choose import choose_grid
from scripts.workload.spec import load_workload

CONFIG = "config/config.yaml"
MODELS = "config/models.yaml"
ENGINES = "config/engines.yaml"
FOLDERS = {"source": "a checkpoint or of its config.json", "chat": "a tokenizer and chat template"}


@dataclass(frozen=True)
class Configuration:
    """The checked contents of config/, with the command line's values laid over config.yaml.

    `grid_name`, `why`: the grid that is made and the reason in words. `grid`: its file's content.
    `overrides`: what the command line gave. `workloads`: by name, each workload's file and the files it reads.
    """

    root: Path
    config: dict[str, Any]
    overrides: dict[str, Any]
    grid_name: str
    why: str
    grid: dict[str, Any]
    models: dict[str, Any]
    engines: dict[str, Any]
    variants: dict[str, Any]
    workloads: dict[str, tuple[str, ...]]

    @property
    def grid_file(self) -> str:
        """The grid's file, from the root."""
        return f"config/grids/{self.grid_name}.yaml"

    @property
    def files(self) -> list[str]:
        """The files that the grid's record is made from, from the root."""
        return [CONFIG, MODELS, ENGINES, self.grid_file]


def load_configuration(
    root: Path, overrides: Mapping[str, Any] | None = None, why: str | None = None
) -> Configuration:
    """Load and check config.yaml, models.yaml, engines.yaml, the grid and its workload under `root`.

    `overrides`: the values of `--config`. `why`: the reason for the grid, where it was settled before.
    Raises ConfigError naming file, key and remedy at the first mistake.
    """
    config, given = _settings(root, overrides or {})
    models = _checked(root, MODELS, "models")
    tools = _checked(root, ENGINES, "engines")
    _check_recipes(root, models)
    _check_variants(root, tools)
    names = grid_names(root)
    chosen = choose_grid(config["grid"], "--config" if "grid" in given else CONFIG, names)
    file = f"config/grids/{chosen.name}.yaml"
    grid = _checked(root, file, "grid")
    return Configuration(
        root=root,
        config=config,
        overrides=given,
        grid_name=chosen.name,
        why=why or chosen.why,
        grid=grid,
        models=models,
        engines=tools["engines"],
        variants=tools["variants"],
        workloads={
            name: _workload_files(root, file, keys, name) for name, keys in _workload_keys(grid).items()
        },
    )


def grid_names(root: Path) -> list[str]:
    """The names of the grids under `root`, sorted."""
    return sorted(path.stem for path in (root / "config/grids").glob("*.yaml"))


def workload_names(root: Path) -> list[str]:
    """The names of the workloads under `root`, sorted."""
    return sorted(path.stem for path in (root / "config/workloads").glob("*.yaml"))


def _checked(root: Path, file: str, schema: str) -> Any:
    value = load_yaml(root / file)
    check_schema(value, schema, str(root / file))
    return value


def _settings(root: Path, overrides: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    written = _checked(root, CONFIG, "config")
    for key in overrides:
        if key not in written:
            raise ConfigError(f"unknown key {key!r}", where="--config", remedy=nearest(key, written))
    # Snakemake hands most values of the command line on as texts.
    given = {key: plain_value(value) if isinstance(value, str) else value for key, value in overrides.items()}
    config = {**written, **given}
    check_schema(config, "config", "--config")
    return config, {key: value for key, value in given.items() if value != written[key] or key == "grid"}


def _check_recipes(root: Path, models: Mapping[str, Any]) -> None:
    """Precisions that are quantised name a sister precision, without a circle; sources are there."""
    file = str(root / MODELS)
    for model, entry in models.items():
        precisions = entry["precisions"]
        for precision, recipe in precisions.items():
            keys = [model, "precisions", precision]
            for key in ("source", "chat"):
                if key in recipe and not (root / recipe[key]).is_dir():
                    raise ConfigError(
                        f"there is no folder {recipe[key]}",
                        where=place(file, [*keys, key]),
                        remedy=f"name the folder of {FOLDERS[key]}, from the repository's root",
                    )
            seen = [precision]
            while "from" in recipe:
                source = recipe["from"]
                if source not in precisions:
                    raise ConfigError(
                        f"{model} has no precision {source!r}",
                        where=place(file, [model, "precisions", seen[-1], "from"]),
                        remedy=nearest(source, precisions),
                    )
                if source in seen:
                    raise ConfigError(
                        f"{' from '.join([*seen, source])}: a circle", where=place(file, [*keys, "from"])
                    )
                seen.append(source)
                recipe = precisions[source]


def _check_variants(root: Path, tools: Mapping[str, Any]) -> None:
    """`base` changes nothing, every other variant changes something."""
    for name, variant in tools["variants"].items():
        changes = sorted(set(variant) - {"description"})
        where = place(str(root / ENGINES), ["variants", name])
        if name == "base" and changes:
            raise ConfigError(
                f"base changes {', '.join(changes)}",
                where=where,
                remedy="name the change as a variant of its own",
            )
        if name != "base" and not changes:
            raise ConfigError(
                "the variant changes nothing", where=where, remedy="give arguments, environment or harness"
            )


def _workload_keys(grid: Mapping[str, Any]) -> dict[str, list[str | int]]:
    """The workloads of a grid and its blocks, and where in the grid's file each is first named."""
    found: dict[str, list[str | int]] = {grid["workload"]: ["workload"]}
    for index, block in enumerate(grid["blocks"]):
        if "workload" in block:
            found.setdefault(block["workload"], ["blocks", index, "workload"])
    return found


def _workload_files(root: Path, grid_file: str, keys: list[str | int], name: str) -> tuple[str, ...]:
    """The workload's file and those it reads, from the root, after the workload was checked."""
    path = Path(f"config/workloads/{name}.yaml")
    if not (root / path).is_file():
        raise ConfigError(
            f"there is no workload {name!r}",
            where=place(str(root / grid_file), keys),
            remedy=nearest(name, workload_names(root)),
        )
    load_workload(root / path)
    raw = load_yaml(root / path)
    read = [
        (path.parent / content["path"]).as_posix()
        for scenario in raw["scenarios"]
        for content in scenario["files"].values()
        if "path" in content
    ]
    return (path.as_posix(), *dict.fromkeys(read))

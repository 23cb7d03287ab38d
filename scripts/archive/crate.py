"""The archive's description: ro-crate-metadata.json, a Provenance Run Crate 0.5 on RO-Crate 1.1.

It follows from the archived files alone, so that it can be made again from them and compared: its date is the end of
the last session. Nobody is named as the one who ran it, since nothing that is recorded says who it was.

`Any` stands here for the values of JSON-LD nodes, which the library takes and gives untyped.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec
from rocrate.model import ComputerLanguage, ContextEntity, Entity
from rocrate.rocrate import ROCrate

from scripts.archive.contents import (
    COMMIT,
    GRID,
    PATCH,
    REPORT,
    SUMS,
    ArchivedSession,
    ablation_keys,
    archived_cells,
    fed_folders,
    manifest_file,
    manifest_files,
    page_file,
    session_folders,
    workload_file,
)
from scripts.archive.unequal import Unequal, unequal
from scripts.common.configs import load_yaml
from scripts.common.errors import DataError
from scripts.common.files import canonical_json, read_json, sha256_bytes
from scripts.records.base import Record, convert
from scripts.records.grid import Grid, GridCell, fed_folder
from scripts.records.machine import Code
from scripts.records.manifest import Manifest

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/provenance/0.5": ("Provenance Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
# The terms of https://w3id.org/ro/terms/workflow-run/context that are used, written out: the crate can so be read
# with the one context that every RO-Crate tool holds.
TERMS = {
    name: f"https://w3id.org/ro/terms/workflow-run#{name}"
    for name in (
        "ContainerImage",
        "containerImage",
        "environment",
        "registry",
        "resourceUsage",
        "sha256",
        "tag",
    )
}
DOCKER_IMAGE = "https://w3id.org/ro/terms/workflow-run#DockerImage"
COMPLETED = "http://schema.org/CompletedActionStatus"
BIOSCHEMAS = "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"
SNAKEMAKE = "https://snakemake.github.io"
PINNED_SNAKEMAKE = re.compile(r"^snakemake==(\S+)", re.MULTILINE)
# Where each kind of engine comes from; of an endpoint that is only asked, nobody knows.
HOMES = {
    "llama-cpp-python": "https://github.com/abetlen/llama-cpp-python",
    "llamacpp": "https://github.com/ggml-org/llama.cpp",
    "sglang": "https://github.com/sgl-project/sglang",
    "transformers": "https://github.com/huggingface/transformers",
    "vllm": "https://github.com/vllm-project/vllm",
}
# Not asked of the system, whose table of media types is another one on each: the same data is described alike.
FORMATS = {
    ".csv": "text/csv",
    ".html": "text/html",
    ".json": "application/json",
    ".jsonl": "application/jsonl",
    ".md": "text/markdown",
    ".patch": "text/x-diff",
    ".py": "text/x-python",
    ".sh": "application/x-sh",
    ".toml": "application/toml",
    ".yaml": "application/yaml",
}
# The steps of the workflow that the archive shows actions of: the rule, its command, what it does.
STEPS = {
    "run_session": "Play the workload in one engine process and write down what was said and computed",
    "force_cell": "Feed a recorded trajectory back to a fresh engine several times",
    "summarise_cell": "Compare a cell's replays and write its verdict",
    "make_table": "Make the table of the grid",
    "check_controls": "Check the cells whose class is known beforehand",
    "make_ablation": "Compare the variants of one deployment",
    "make_compare": "Set a cell beside others",
    "make_report": "Make the page that shows the table and what is behind it",
}


class _Author(Record, frozen=True, kw_only=True):
    name: str


class _Citation(Record, frozen=True, kw_only=True):
    """What is told of CITATION.cff."""

    title: str
    version: str | float
    license: str
    authors: list[_Author]
    repository_code: str | None = msgspec.field(name="repository-code", default=None)
    url: str | None = None


class _Crate(Record, frozen=True, kw_only=True):
    """ro-crate-metadata.json, whose nodes are the library's."""

    context: Any = msgspec.field(name="@context")
    graph: list[dict[str, Any]] = msgspec.field(name="@graph")

    def nodes(self) -> dict[str, Any]:
        """The context, and the nodes by their id."""
        return {"@context": self.context, **{str(each.get("@id")): each for each in self.graph}}


def render_crate(root: Path, files: Mapping[str, str]) -> str:
    """The text of ro-crate-metadata.json for the files under `root` (path from there: its sha256)."""
    generated = _Description(root, files).describe().metadata.generate()
    graph = [{key: _single(value) for key, value in each.items()} for each in generated["@graph"]]
    return json.dumps({**generated, "@graph": graph}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def unlike_crate(path: Path, follows: str) -> Unequal:
    """Where the description in a file is not the one that follows, node by node."""
    said, again = (convert(_Crate, each, str(path)) for each in (read_json(path), json.loads(follows)))
    return unequal(said.nodes(), again.nodes())


def _single(value: Any) -> Any:
    """A list of one as its one value, as RO-Crate wants it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class _Description:
    """The crate as it grows. Entities are made once and found again by their id."""

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self._root, self._files = root, files
        self._grid = Grid.read(root / GRID)
        self._cells = archived_cells(root, self._grid)
        self._sessions = {
            cell.path: {
                folder: ArchivedSession.read(root / folder / "session.json")
                for folder in session_folders(root, cell)
            }
            for cell in self._cells
        }
        self._citation = convert(_Citation, load_yaml(root / "CITATION.cff"), "CITATION.cff")
        self._home = self._citation.repository_code or self._citation.url
        self._known: dict[str, Entity] = {}
        self._actions: dict[str, list[Entity]] = {}
        self._crate = ROCrate(version="1.1")
        self._crate.metadata.extra_terms = TERMS

    def describe(self) -> ROCrate:
        """Root, files, steps, actions."""
        records = [record for found in self._sessions.values() for record in found.values()]
        if not records:
            raise DataError(
                "there is no session to archive", where=GRID, remedy="run a cell first: snakemake --cores 1"
            )
        begin, end = min(record.started for record in records), max(record.ended for record in records)
        # A step's command is described with its actions; of a grid that compares nothing it has none.
        steps = {f"scripts/{step}" for step in STEPS if step != "make_compare" or self._grid.compare}
        for name in sorted(self._files):
            if name != "Snakefile" and name.removesuffix(".py") not in steps:
                self._add_file(name)
        self._add_file(SUMS)
        workflow = self._workflow()
        self._root_dataset(end)
        for cell in self._cells:
            self._cell(cell, self._sessions[cell.path])
        self._pages()
        run = self._action(
            "run",
            self._grid.heading,
            f"The grid {self._grid.grid}: {self._grid.description}",
            [workflow],
            [self._file(GRID)],
            [self._file(name) for name in ("results/table.md", "results/table.csv")],
            startTime=begin,
            endTime=end,
        )
        self._steps(workflow, run)
        self._crate.root_dataset["mentions"] = [
            run,
            *(each for made in self._actions.values() for each in made),
        ]
        return self._crate

    def _root_dataset(self, end: str) -> None:
        spdx = f"https://spdx.org/licenses/{self._citation.license}"
        self._thing(spdx, "CreativeWork", name=self._citation.license, identifier=spdx)
        root = self._crate.root_dataset
        root["name"] = f"tempzero, grid {self._grid.grid}: the same bytes twice at temperature 0?"
        root["description"] = self._grid.heading
        root["datePublished"] = end
        root["license"] = {"@id": spdx}
        root["conformsTo"] = [
            self._thing(uri, "CreativeWork", name=name, version=version)
            for uri, (name, version) in PROFILES.items()
        ]
        self._file("README.md")["about"] = {"@id": "./"}
        root["subjectOf"] = self._file("CITATION.cff")

    def _workflow(self) -> Entity:
        language = ComputerLanguage(
            self._crate,
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            properties={"name": "Snakemake", "identifier": {"@id": SNAKEMAKE}, "url": {"@id": SNAKEMAKE}},
        )
        properties = {
            "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
            "name": "tempzero",
            "description": self._citation.title,
            "version": Code.read(self._root / COMMIT).commit or str(self._citation.version),
            "softwareVersion": str(self._citation.version),
            "encodingFormat": "text/x-snakemake",
            "url": self._home,
            "author": [
                self._thing(f"#author-{_slug(each.name)}", "Organization", name=each.name, url=self._home)
                for each in self._citation.authors
            ],
            "conformsTo": self._thing(
                BIOSCHEMAS, "CreativeWork", name="Bioschemas ComputationalWorkflow", version="1.0-RELEASE"
            ),
            "softwareRequirements": self._file("envs/workflow.lock"),
            "isBasedOn": self._known.get(PATCH),
            **self._size("Snakefile"),
        }
        workflow = self._crate.add_workflow(
            self._root / "Snakefile",
            "Snakefile",
            properties=_given(properties),
            main=True,
            lang=self._crate.add(language),
        )
        for role, name, file in (
            ("input", "grid", GRID),
            ("output", "table", "results/table.md"),
            ("output", "figures", "results/table.csv"),
        ):
            parameter = self._thing(
                f"#parameter-{name}",
                "FormalParameter",
                name=name,
                additionalType="File",
                workExample=self._file(file),
            )
            self._file(file)["exampleOfWork"] = parameter
            workflow.append_to(role, parameter)
        return workflow

    def _steps(self, workflow: Entity, run: Entity) -> None:
        """One step a rule that has actions, each action controlled by its step, all of it by Snakemake."""
        controls = []
        for position, (name, actions) in enumerate(self._actions.items(), start=1):
            tool = self._tool(name)
            workflow.append_to("hasPart", tool)
            step = self._thing(
                f"Snakefile#{name}",
                "HowToStep",
                name=name,
                description=STEPS[name],
                position=str(position),
                workExample=tool,
            )
            workflow.append_to("step", step)
            controls += [
                self._thing(
                    f"#control-{action.id.removeprefix('#')}",
                    "ControlAction",
                    name=f"{name}: {action['name']}",
                    instrument=step,
                    object=action,
                    actionStatus=COMPLETED,
                )
                for action in actions
            ]
        lock = (self._root / "envs/workflow.lock").read_text(encoding="utf-8", errors="replace")
        found = PINNED_SNAKEMAKE.search(lock)
        engine = self._thing(
            SNAKEMAKE,
            "SoftwareApplication",
            name="Snakemake",
            url={"@id": SNAKEMAKE},
            softwareVersion=found and found[1],
        )
        self._thing(
            "#orchestration",
            "OrganizeAction",
            name="The jobs of the grid",
            instrument=engine,
            object=controls,
            result=run,
            startTime=run["startTime"],
            endTime=run["endTime"],
            actionStatus=COMPLETED,
        )

    def _cell(self, cell: GridCell, sessions: Mapping[str, ArchivedSession]) -> None:
        for folder, record in sessions.items():
            self._session(cell, folder, record)
        summarised = self._below(f"{cell.folder}/session-")
        if f"{cell.folder}/forced.json" in self._files:
            made = [self._file(f"{cell.folder}/forced.json"), *self._below(f"{cell.folder}/forced/")]
            folder, record = next(iter(sessions.items()))
            self._step_action(
                "force_cell",
                f"forced replay of {cell.path}",
                [*self._ran_on(cell, folder), self._file(f"{folder}/replay-00.transcript.jsonl")],
                made,
                self._engine(record),
                containerImage=self._image(record),
            )
            summarised += made
        for fed, source in fed_folders(self._root, self._grid, cell).items():
            folder, record = next(iter(sessions.items()))
            trajectory = f"{source.folder}/session-00/replay-00.transcript.jsonl"
            self._step_action(
                "force_cell",
                f"trajectory of {source.path} fed to {cell.path}",
                [*self._ran_on(cell, folder), self._file(trajectory)],
                self._below(f"{fed}/"),
                self._engine(record),
                containerImage=self._image(record),
            )
        verdict = [self._file(f"{cell.folder}/cell.json")]
        self._step_action("summarise_cell", f"verdict of {cell.path}", summarised, verdict)

    def _session(self, cell: GridCell, folder: str, record: ArchivedSession) -> None:
        name = workload_file(self._grid, record.workload.name)
        workload = [] if self._grid.requests == name not in self._known else [self._file(name)]
        environment = [
            self._thing(f"#variable-{_slug(name)}-{_slug(value)}", "PropertyValue", name=name, value=value)
            for name, value in sorted(record.environment.items())
        ]
        used = (("tokens", record.tokens, "C62"), ("seconds", record.seconds, "SEC"))
        self._step_action(
            "run_session",
            f"session {record.session} of {cell.path}",
            [*self._ran_on(cell, folder), *workload],
            self._below(f"{folder}/"),
            self._engine(record),
            startTime=record.started,
            endTime=record.ended,
            location=self._host(folder),
            resourceUsage=[
                self._value(f"{name} of {folder}", name, value, unit)
                for name, value, unit in (*used, ("wall_seconds", record.wall_seconds, "SEC"))
            ],
            environment=environment or None,
            containerImage=self._image(record),
        )

    def _ran_on(self, cell: GridCell, folder: str) -> list[Entity]:
        """What a session or forced replay reads: the weights, the engine's record, its settings."""
        manifest = manifest_file(cell.model, cell.precision)
        settings = canonical_json(self._quote(folder, "settings"))
        return [
            self._weights(manifest),
            self._file(manifest),
            self._file(f"results/engines/{cell.engine}.json"),
            self._value(f"settings of {cell.path}", "settings", settings),
        ]

    def _pages(self) -> None:
        grid = self._file(GRID)
        verdicts = {cell.path: self._file(f"{cell.folder}/cell.json") for cell in self._cells}
        cells = [*verdicts.values()]
        manifests = [self._file(name) for name in manifest_files(self._root, self._grid)]
        tables = [self._file(name) for name in ("results/table.md", "results/table.csv")]
        fed = [
            file
            for one, other in self._grid.compare
            for file in (
                *self._below(f"results/cells/{one}/forced/"),
                *self._below(f"{fed_folder(f'results/cells/{other}', one)}/"),
            )
        ]
        fed = [*dict.fromkeys(fed)]
        self._step_action("make_table", "the table", [grid, *cells, *fed, *manifests], tables)
        controls = [self._file("results/controls.json")]
        self._step_action("check_controls", "the controls", [grid, *cells], controls)
        pages = []
        for key in ablation_keys(self._grid):
            pages.append(self._file(page_file(key)))
            name = "/".join(key)
            compared = [each for path, each in verdicts.items() if path.startswith(f"{name}/")]
            self._step_action("make_ablation", f"ablations of {name}", [grid, *compared], pages[-1:])
        for name, pairs in self._grid.compared.items():
            pages.append(self._file(name))
            beside = [
                file
                for path in dict.fromkeys(path for pair in pairs for path in pair)
                for file in self._below(f"results/cells/{path}/")
            ]
            self._step_action("make_compare", f"cells beside {pairs[0][0]}", [grid, *beside], pages[-1:])
        above = tuple(f"{cell.folder}/session-" for cell in self._cells)
        replays = [self._file(name) for name in self._files if name.startswith(above)]
        shown = [grid, *cells, *replays, *manifests, *pages]
        self._step_action("make_report", "the report", shown, [self._file(REPORT)])

    def _engine(self, record: ArchivedSession) -> Entity:
        """The engine that a session ran: its version as it said itself, its lock or image."""
        of = record.engine_record
        return self._thing(
            f"#engine-{_slug(record.engine)}",
            "SoftwareApplication",
            name=record.engine,
            description=f"{of.kind}, runtime {of.runtime}",
            url=HOMES.get(of.kind),
            softwareVersion=record.resolved and (record.resolved.version or None),
            softwareRequirements=self._known.get(of.lock or ""),
            identifier=f"sha256 of {of.lock}: {of.lock_sha256}" if of.lock_sha256 else None,
        )

    def _image(self, record: ArchivedSession) -> Entity | None:
        """The container image of an engine that has one."""
        of = record.engine_record
        if not of.image:
            return None
        registry, _, name = of.image.partition("@")[0].rpartition("/")
        name, _, tag = name.partition(":")
        return self._thing(
            f"#image-{_slug(record.engine)}",
            "ContainerImage",
            name="/".join([*registry.split("/")[1:], name]) if "." in registry else of.image,
            additionalType={"@id": DOCKER_IMAGE},
            registry=registry.split("/")[0] if "." in registry else "docker.io",
            tag=tag or None,
            sha256=(of.digest or of.image_id or "").removeprefix("sha256:") or None,
        )

    def _weights(self, manifest: str) -> Entity:
        """The weights that a manifest names: not in the archive, known by the manifest's sha256."""
        content = Manifest.read(self._root / manifest)
        source, quoted = content.source, canonical_json(read_json(self._root / manifest)["source"])
        return self._thing(
            f"#weights-{_slug(content.model)}-{_slug(content.precision)}",
            "CreativeWork",
            name=f"weights of {content.model} in {content.precision}",
            description=f"quantised: {content.quantised}; source: {quoted}",
            identifier=f"sha256 of the manifest: {self._files[manifest]}",
            contentSize=str(content.bytes),
            subjectOf=self._file(manifest),
            url=source.revision and f"https://huggingface.co/{source.repository}/tree/{source.revision}",
        )

    def _host(self, folder: str) -> Entity:
        """The machine of a session, by what was recorded of it; its name was not."""
        machine = self._quote(folder, "machine")
        key = sha256_bytes(canonical_json(machine).encode())[:12]
        return self._thing(
            f"#host-{key}",
            "Place",
            name=f"a machine: {machine.get('cpu')}, {len(machine.get('gpus') or [])} GPUs",
            additionalProperty=[
                self._value(
                    f"{name} of host {key}", name, value if isinstance(value, str) else canonical_json(value)
                )
                for name, value in sorted(machine.items())
            ],
        )

    def _quote(self, folder: str, key: str) -> Any:
        """A value of session.json as it stands there, be it of an older version."""
        return read_json(self._root / folder / "session.json")[key]

    def _value(self, about: str, name: str, value: object, unit: str | None = None) -> Entity:
        """`unit`: a code of UN/CEFACT: C62 is a count, SEC a second."""
        return self._thing(
            f"#{_slug(about)}", "PropertyValue", name=name, propertyID=name, value=value, unitCode=unit
        )

    def _step_action(
        self, step: str, name: str, reads: list[Entity], writes: list[Entity], *engine: Entity, **more: Any
    ) -> None:
        instrument = [self._tool(step), *engine]
        action = self._action(
            f"{step} {name}", name, f"{STEPS[step]}: {name}", instrument, reads, writes, **more
        )
        self._actions.setdefault(step, []).append(action)

    def _action(
        self,
        identifier: str,
        name: str,
        description: str,
        instrument: list[Entity],
        reads: Iterable[Entity],
        writes: Iterable[Entity],
        **more: Any,
    ) -> Entity:
        properties = {"name": name, "description": description, "actionStatus": COMPLETED, **more}
        return self._crate.add_action(
            instrument, f"#{_slug(identifier)}", list(reads), list(writes), _given(properties)
        )

    def _tool(self, step: str) -> Entity:
        """The command of a rule, as software."""
        name = f"scripts/{step}.py"
        return self._known.get(name) or self._add_file(
            name,
            **{"@type": ["File", "SoftwareSourceCode"]},
            description=STEPS[step],
            version=str(self._citation.version),
            url=self._home,
        )

    def _add_file(self, name: str, /, **more: Any) -> Entity:
        kind = FORMATS.get(Path(name).suffix, "text/plain")
        properties = _given({"name": name, "encodingFormat": kind, **self._size(name), **more})
        self._known[name] = self._crate.add_file(self._root / name, name, properties=properties)
        return self._known[name]

    def _size(self, name: str) -> dict[str, str]:
        if name not in self._files:
            return {}  # the sums, which follow from all other files
        return {"contentSize": str((self._root / name).stat().st_size), "sha256": self._files[name]}

    def _file(self, name: str) -> Entity:
        if name not in self._known:
            raise DataError("the file is missing in the archive", where=name)
        return self._known[name]

    def _below(self, start: str) -> list[Entity]:
        """The files whose names start so, by name, whatever order they were listed in."""
        return [self._file(name) for name in sorted(self._files) if name.startswith(start)]

    def _thing(self, identifier: str, kind: str, /, **properties: Any) -> Entity:
        """The entity of this id, made of what is given of these properties where there is none."""
        if identifier not in self._known:
            entity = ContextEntity(self._crate, identifier, {"@type": kind, **_given(properties)})
            self._known[identifier] = self._crate.add(entity)
        return self._known[identifier]


def _given(properties: Mapping[str, Any]) -> dict[str, Any]:
    """The properties that are not None."""
    return {name: value for name, value in properties.items() if value is not None}


def _slug(text: object) -> str:
    """Text as a part of an id: letters, digits, points and dashes; a digest tells long or unusual ones apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).strip("-")
    if plain == str(text).replace("/", "-").replace(" ", "-") and len(plain) <= 120:
        return plain
    return f"{plain[:60]}-{sha256_bytes(str(text).encode())[:8]}"

"""The archive's description: ro-crate-metadata.json, a Provenance Run Crate 0.5 on RO-Crate 1.1.

It follows from the archived files alone, so that it can be made again from them and compared: its date is the end of
the last session. Nobody is named as the one who ran it, since nothing that is recorded says who it was.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rocrate.model import ComputationalWorkflow, ContextEntity, Entity, File
from rocrate.rocrate import ROCrate

from scripts.archive.contents import (
    COMMIT,
    GRID,
    PATCH,
    REPORT,
    SUMS,
    ablation_keys,
    archived_cells,
    cell_folder,
    manifest_files,
    page_file,
    session_folders,
)
from scripts.common.configs import load_yaml
from scripts.common.errors import DataError
from scripts.common.files import canonical_json, read_json, sha256_bytes
from scripts.report.entries import CELL_KEYS, read_grid

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
    "make_report": "Make the page that shows the table and what is behind it",
}


def render_crate(root: Path, files: Mapping[str, str]) -> str:
    """The text of ro-crate-metadata.json for the files under `root` (path from there: its sha256)."""
    described = _Description(root, files)
    described.describe()
    generated = described.crate.metadata.generate()
    graph = [{key: _single(value) for key, value in each.items()} for each in generated["@graph"]]
    return json.dumps({**generated, "@graph": graph}, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _single(value: Any) -> Any:
    """A list of one as its one value, as RO-Crate wants it."""
    return value[0] if isinstance(value, list) and len(value) == 1 else value


class _Description:
    """The crate as it grows. Entities are made once and found again by their id."""

    def __init__(self, root: Path, files: Mapping[str, str]) -> None:
        self._root, self._files = root, files
        self._grid = read_grid(root / GRID)
        self._cells = archived_cells(root, self._grid)
        self._citation = load_yaml(root / "CITATION.cff")
        self._home = self._citation.get("repository-code") or self._citation.get("url")
        self._actions: dict[str, list[Entity]] = {}
        self.crate = ROCrate(version="1.1")
        self.crate.metadata.extra_terms = TERMS

    def describe(self) -> None:
        """Root, files, steps, actions."""
        sessions = [folder for cell in self._cells for folder in session_folders(self._root, cell)]
        records = {folder: read_json(self._root / folder / "session.json") for folder in sessions}
        if not records:
            raise DataError(
                "there is no session to archive", where=GRID, remedy="run a cell first: snakemake --cores 1"
            )
        begin = min(str(record["started"]) for record in records.values())
        end = max(str(record["ended"]) for record in records.values())
        for name in sorted(self._files):
            if name != "Snakefile" and name.removesuffix(".py") not in {f"scripts/{step}" for step in STEPS}:
                self._add_file(name)
        self._add_file(SUMS)
        workflow = self._workflow()
        self._root_dataset(workflow, end)
        for cell in self._cells:
            self._cell(cell, records)
        self._pages()
        run = self._action(
            "run",
            self._grid["heading"],
            f"The grid {self._grid['grid']}: {self._grid['description']}",
            [workflow],
            [self._file(GRID)],
            [self._file(name) for name in ("results/table.md", "results/table.csv")],
            startTime=begin,
            endTime=end,
        )
        self._steps(workflow, run)
        self.crate.root_dataset["mentions"] = [
            run,
            *(action for actions in self._actions.values() for action in actions),
        ]

    def _root_dataset(self, workflow: Entity, end: str) -> None:
        title = f"tempzero, grid {self._grid['grid']}: the same bytes twice at temperature 0?"
        spdx = f"https://spdx.org/licenses/{self._citation['license']}"
        self._thing(spdx, "CreativeWork", name=self._citation["license"], identifier=spdx)
        root = self.crate.root_dataset
        root["name"] = title
        root["description"] = self._grid["heading"]
        root["datePublished"] = end
        root["license"] = {"@id": spdx}
        root["mainEntity"] = workflow
        root["conformsTo"] = [
            self._thing(uri, "CreativeWork", name=name, version=version)
            for uri, (name, version) in PROFILES.items()
        ]
        self.crate.metadata["conformsTo"] = [
            {"@id": self.crate.metadata.profile},
            {"@id": "https://w3id.org/workflowhub/workflow-ro-crate/1.0"},
        ]
        self._file("README.md")["about"] = {"@id": "./"}
        root["subjectOf"] = self._file("CITATION.cff")

    def _workflow(self) -> Entity:
        language = self._thing(
            "https://w3id.org/workflowhub/workflow-ro-crate#snakemake",
            "ComputerLanguage",
            name="Snakemake",
            identifier={"@id": SNAKEMAKE},
            url={"@id": SNAKEMAKE},
        )
        commit = read_json(self._root / COMMIT)
        authors = [
            self._thing(
                f"#author-{_slug(each['name'])}", "Organization", name=each["name"], **_url(self._home)
            )
            for each in self._citation["authors"]
        ]
        workflow = self.crate.add(
            ComputationalWorkflow(
                self.crate,
                self._root / "Snakefile",
                "Snakefile",
                properties={
                    "@type": ["File", "SoftwareSourceCode", "ComputationalWorkflow", "HowTo"],
                    "name": "tempzero",
                    "description": self._citation["title"],
                    "version": commit["commit"] or str(self._citation["version"]),
                    "softwareVersion": str(self._citation["version"]),
                    "encodingFormat": "text/x-snakemake",
                    **_url(self._home),
                    **self._size("Snakefile"),
                },
            )
        )
        workflow["programmingLanguage"] = language
        workflow["author"] = authors
        workflow["conformsTo"] = {"@id": BIOSCHEMAS}
        workflow["softwareRequirements"] = self._file("envs/workflow.lock")
        self._thing(
            BIOSCHEMAS, "CreativeWork", name="Bioschemas ComputationalWorkflow", version="1.0-RELEASE"
        )
        if PATCH in self._files:
            workflow["isBasedOn"] = self._file(PATCH)
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
        lock = (self._root / "envs/workflow.lock").read_text(encoding="utf-8")
        found = PINNED_SNAKEMAKE.search(lock)
        engine = self._thing(
            SNAKEMAKE,
            "SoftwareApplication",
            name="Snakemake",
            url={"@id": SNAKEMAKE},
            **({"softwareVersion": found[1]} if found else {}),
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

    def _cell(self, cell: dict[str, Any], records: Mapping[str, dict[str, Any]]) -> None:
        folder = cell_folder(cell)
        name = "/".join(str(cell[key]) for key in CELL_KEYS)
        sessions = session_folders(self._root, cell)
        for session in sessions:
            self._session(cell, session, records[session])
        summarised = [self._file(f) for f in self._files if f.startswith(f"{folder}/session-")]
        if f"{folder}/forced.json" in self._files:
            passes = [self._file(f) for f in self._files if f.startswith(f"{folder}/forced/")]
            forced = self._file(f"{folder}/forced.json")
            record = records[sessions[0]]
            self._add_action(
                "force_cell",
                f"forced replay of {name}",
                [self._tool("force_cell"), self._engine(record)],
                [*self._ran_on(cell, record), self._file(f"{sessions[0]}/replay-00.transcript.jsonl")],
                [forced, *passes],
                **self._image(record),
            )
            summarised += [forced, *passes]
        self._add_action(
            "summarise_cell",
            f"verdict of {name}",
            [self._tool("summarise_cell")],
            summarised,
            [self._file(f"{folder}/cell.json")],
        )

    def _session(self, cell: dict[str, Any], folder: str, record: dict[str, Any]) -> None:
        workload = self._file(f"config/workloads/{record['workload']['name']}.yaml")
        self._add_action(
            "run_session",
            f"session {record['session']} of {'/'.join(str(cell[key]) for key in CELL_KEYS)}",
            [self._tool("run_session"), self._engine(record)],
            [*self._ran_on(cell, record), workload],
            [self._file(name) for name in self._files if name.startswith(f"{folder}/")],
            startTime=record["started"],
            endTime=record["ended"],
            location=self._host(record["machine"]),
            resourceUsage=[
                self._value(f"{key} of {folder}", key, record[key], unit)
                for key, unit in (("tokens", "C62"), ("seconds", "SEC"), ("wall_seconds", "SEC"))
            ],
            **self._environment(record["environment"]),
            **self._image(record),
        )

    def _ran_on(self, cell: dict[str, Any], record: dict[str, Any]) -> list[Entity]:
        """What a session or forced replay reads: the weights, the engine's record, its settings."""
        settings = canonical_json(record["settings"])
        manifest = f"results/quants/{cell['model']}/{cell['precision']}/manifest.json"
        return [
            self._weights(manifest),
            self._file(manifest),
            self._file(f"results/engines/{cell['engine']}.json"),
            self._value(f"settings of {'/'.join(str(cell[key]) for key in CELL_KEYS)}", "settings", settings),
        ]

    def _pages(self) -> None:
        cells = [self._file(f"{cell_folder(cell)}/cell.json") for cell in self._cells]
        manifests = [self._file(name) for name in manifest_files(self._root, self._grid)]
        grid = self._file(GRID)
        tables = [self._file(name) for name in ("results/table.md", "results/table.csv")]
        self._add_action(
            "make_table", "the table", [self._tool("make_table")], [grid, *cells, *manifests], tables
        )
        self._add_action(
            "check_controls",
            "the controls",
            [self._tool("check_controls")],
            [grid, *cells],
            [self._file("results/controls.json")],
        )
        for key in ablation_keys(self._grid):
            compared = [
                self._file(f"{cell_folder(cell)}/cell.json")
                for cell in self._cells
                if tuple(cell[name] for name in CELL_KEYS[:3]) == key
            ]
            self._add_action(
                "make_ablation",
                f"ablations of {'/'.join(key)}",
                [self._tool("make_ablation")],
                [grid, *compared],
                [self._file(page_file(key))],
            )
        replays = [
            self._file(name)
            for name in self._files
            if any(name.startswith(f"{cell_folder(cell)}/session-") for cell in self._cells)
        ]
        pages = [self._file(page_file(key)) for key in ablation_keys(self._grid)]
        self._add_action(
            "make_report",
            "the report",
            [self._tool("make_report")],
            [grid, *cells, *replays, *manifests, *pages],
            [self._file(REPORT)],
        )

    def _engine(self, record: dict[str, Any]) -> Entity:
        """The engine that a session ran: its version as it said itself, its lock or image."""
        of = record["engine_record"]
        version = (record.get("resolved") or {}).get("version")
        lock = of.get("lock")
        return self._thing(
            f"#engine-{_slug(record['engine'])}",
            "SoftwareApplication",
            name=record["engine"],
            description=f"{of['kind']}, runtime {of['runtime']}",
            **_url(HOMES.get(of["kind"])),
            **({"softwareVersion": str(version)} if version else {}),
            **({"softwareRequirements": self._file(lock)} if lock in self._files else {}),
            **({"identifier": f"sha256 of {lock}: {of['lock_sha256']}"} if of.get("lock_sha256") else {}),
        )

    def _image(self, record: dict[str, Any]) -> dict[str, Any]:
        """The container image of an engine that has one."""
        of = record["engine_record"]
        if not of.get("image"):
            return {}
        registry, _, name = str(of["image"]).partition("@")[0].rpartition("/")
        name, _, tag = name.partition(":")
        digest = str(of.get("digest") or of.get("image_id") or "").removeprefix("sha256:")
        image = self._thing(
            f"#image-{_slug(record['engine'])}",
            "ContainerImage",
            name="/".join([*registry.split("/")[1:], name]) if "." in registry else of["image"],
            additionalType={"@id": DOCKER_IMAGE},
            registry=registry.split("/")[0] if "." in registry else "docker.io",
            **({"tag": tag} if tag else {}),
            **({"sha256": digest} if digest else {}),
        )
        return {"containerImage": image}

    def _weights(self, manifest: str) -> Entity:
        """The weights that a manifest names: not in the archive, known by the manifest's sha256."""
        content = read_json(self._root / manifest)
        source = content.get("source", {})
        url = (
            {"url": f"https://huggingface.co/{source['repository']}/tree/{source['revision']}"}
            if source.get("revision")
            else {}
        )
        return self._thing(
            f"#weights-{_slug(content['model'])}-{_slug(content['precision'])}",
            "CreativeWork",
            name=f"weights of {content['model']} in {content['precision']}",
            description=f"quantised: {content.get('quantised')}; source: {canonical_json(source)}",
            identifier=f"sha256 of the manifest: {self._files[manifest]}",
            contentSize=str(content.get("bytes")),
            subjectOf=self._file(manifest),
            **url,
        )

    def _host(self, machine: dict[str, Any]) -> Entity:
        """The machine, by what was recorded of it; its name was not."""
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

    def _environment(self, variables: Mapping[str, str]) -> dict[str, Any]:
        values = [
            self._thing(f"#variable-{_slug(name)}-{_slug(value)}", "PropertyValue", name=name, value=value)
            for name, value in sorted(variables.items())
        ]
        return {"environment": values} if values else {}

    def _value(self, about: str, name: str, value: object, unit: str | None = None) -> Entity:
        more = {"unitCode": unit} if unit else {}  # of UN/CEFACT: C62 is a count, SEC a second
        return self._thing(
            f"#{_slug(about)}", "PropertyValue", name=name, propertyID=name, value=value, **more
        )

    def _add_action(
        self,
        step: str,
        name: str,
        instrument: list[Entity],
        reads: list[Entity],
        writes: list[Entity],
        **more: Any,
    ) -> None:
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
        return self._thing(
            f"#{_slug(identifier)}",
            "CreateAction",
            name=name,
            description=description,
            instrument=instrument,
            object=list(reads),
            result=list(writes),
            actionStatus=COMPLETED,
            **more,
        )

    def _tool(self, step: str) -> Entity:
        """The command of a rule, as software."""
        name = f"scripts/{step}.py"
        known = self.crate.get(name)
        if known is not None:
            return known
        return self._add_file(
            name,
            **{"@type": ["File", "SoftwareSourceCode"]},
            description=STEPS[step],
            version=str(self._citation["version"]),
            **_url(self._home),
        )

    def _add_file(self, name: str, /, **more: Any) -> Entity:
        kind = FORMATS.get(Path(name).suffix, "text/plain")
        properties = {"name": name, "encodingFormat": kind, **self._size(name), **more}
        return self.crate.add(File(self.crate, self._root / name, name, properties=properties))

    def _size(self, name: str) -> dict[str, str]:
        if name not in self._files:
            return {}  # the sums, which follow from all other files
        return {"contentSize": str((self._root / name).stat().st_size), "sha256": self._files[name]}

    def _file(self, name: str) -> Entity:
        found = self.crate.get(name)
        if found is None:
            raise DataError("the file is missing in the archive", where=name)
        return found

    def _thing(self, identifier: str, kind: str, /, **properties: Any) -> Entity:
        known = self.crate.get(identifier)
        if known is not None:
            return known
        return self.crate.add(ContextEntity(self.crate, identifier, {"@type": kind, **properties}))


def _url(home: str | None) -> dict[str, str]:
    return {"url": home} if home else {}


def _slug(text: object) -> str:
    """Text as a part of an id: letters, digits, points and dashes; a digest tells long or unusual ones apart."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", str(text)).strip("-")
    if plain == str(text).replace("/", "-").replace(" ", "-") and len(plain) <= 120:
        return plain
    return f"{plain[:60]}-{sha256_bytes(str(text).encode())[:8]}"

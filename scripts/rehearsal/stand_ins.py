"""What stands in for a grid's weights and containers in a rehearsal: entries of models.yaml and engines.yaml.

Weights that would be pulled are replaced by drawn ones of a few layers, as `stand_in` of models.yaml says, in the same
number format; weights that are drawn anyhow have fewer layers; all others are small or here, and stay. What has no
stand-in is named, and never replaced by something else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from scripts.common.files import read_json
from scripts.quants.checkpoint import CONFIG
from scripts.records.base import JsonObject
from scripts.records.models import source_quant
from scripts.records.rehearsal import StandIn

LAYERS = 2
"""Layers of a stand-in whose layers are all alike; one that has several kinds has one of each."""
SHAPES = "shapes"
"""The folder in that of the rehearsal with shapes that no folder of resources/ has."""
OWN_WEIGHTS = "its own weights: nothing is pulled for them from a hub"
SIZES = ("disk_gb", "gpu_memory_gb")
BESIDE_GB = 6.0
"""GPU memory of an engine beside its weights: its cache, its workspace."""
OF_CONTAINERS = ("build", "container", "image", "image_gb", "setup", "download_gb")
OF_MEMORY = ("gpu_memory_utilization", "mem_fraction_static")

Quant = tuple[str, str]


@dataclass
class StandIns:
    """The models of a rehearsal, made from those of models.yaml (`known`, its content) under `root`.

    `drafting`: models that draft with their MTP layer, which the others have no need of. `models`: what models.yaml of
    the rehearsal holds. `shapes`: config.json files that it needs, by their paths from the rehearsal's folder.
    `used`: what stands in, by quant. `missing`: why nothing does. `layers`: those of a model's stand-in, in words.
    """

    root: Path
    known: Mapping[str, JsonObject]
    drafting: Collection[str] = ()
    models: dict[str, JsonObject] = field(default_factory=dict)
    shapes: dict[str, JsonObject] = field(default_factory=dict)
    used: dict[Quant, StandIn] = field(default_factory=dict)
    missing: dict[Quant, str] = field(default_factory=dict)
    layers: dict[str, str] = field(default_factory=dict)

    def add(self, quants: Iterable[Quant]) -> StandIns:
        """Find a stand-in for each of these quants."""
        for model, precision in dict.fromkeys(quants):
            if (reason := self._add(model, precision)) is not None:
                self.missing[model, precision] = reason
        return self

    def _add(self, model: str, precision: str) -> str | None:
        """Bring a precision of a model, with what it is built from; why it cannot be rehearsed, or None."""
        entry = self.known[model]["precisions"][precision]
        made = self._precisions(model)
        if precision in made:
            return None
        if "served" in entry:
            return "a server that runs already: there is nothing to start"
        if "repository" in entry:
            stand_in = self.known[model].get("stand_in")
            if stand_in is None:
                return f"config/models.yaml names no `stand_in` for {model}"
            wanted = _wanted(precision, entry)
            if wanted not in self.known[stand_in["model"]]["precisions"]:
                gguf = any(file.endswith(".gguf") for file in entry.get("files", []))
                lacks = f"{stand_in['model']} has no precision {wanted}"
                return lacks + (", and nothing here writes a GGUF file of its architecture" if gguf else "")
            made[precision] = self._drawn(model, wanted)
        else:
            source = source_quant(model, entry["from"]) if "from" in entry else None
            if source is not None and (reason := self._add(*source)) is not None:
                return reason
            made[precision] = self._cut(model, entry) if entry.get("recipe") == "random" else dict(entry)
            if source is not None:
                made[precision] = _no_larger(made[precision], self._precisions(source[0])[source[1]])
        self.used[model, precision] = self._described(model, precision)
        return None

    def _precisions(self, model: str) -> JsonObject:
        kept = {
            key: value for key, value in self.known[model].items() if key not in ("precisions", "stand_in")
        }
        found: JsonObject = self.models.setdefault(model, {**kept, "precisions": {}})["precisions"]
        return found

    def _drawn(self, model: str, wanted: str) -> JsonObject:
        """A precision of the model that stands in for `model`; what it is built from becomes one of `model` too."""
        entry = dict(self.known[self.known[model]["stand_in"]["model"]]["precisions"][wanted])
        if "from" in entry:
            source = self._name(model, entry["from"])
            made = self._precisions(model)
            if source not in made:
                made[source] = self._drawn(model, entry["from"])
            return _no_larger({**entry, "from": source}, made[source])
        return self._cut(model, entry) if entry.get("recipe") == "random" else entry

    def _name(self, model: str, drawn: str) -> str:
        """What a precision of the drawn model is called in `model`: as the one that it stands in for, if any."""
        precisions = self.known[model]["precisions"].items()
        pulled = [name for name, each in precisions if "repository" in each and _wanted(name, each) == drawn]
        return pulled[0] if pulled else f"drawn-{drawn}"

    def _cut(self, model: str, entry: JsonObject) -> JsonObject:
        """The entry of drawn weights with a few of its layers, and with the model's own number of experts."""
        content = read_json(self.root / entry["source"] / CONFIG)
        text = content.get("text_config", content)
        of, given = text["num_hidden_layers"], dict(text)
        experts = self.known[model].get("stand_in", {}).get("experts")
        if experts is not None:
            text["num_experts"] = experts
        if model not in self.drafting and "mtp_num_hidden_layers" in text:
            text["mtp_num_hidden_layers"] = 0
        if len(kinds := list(dict.fromkeys(text.get("layer_types", [])))) > 1:
            text |= {
                "layer_types": kinds,
                "num_hidden_layers": len(kinds),
                "full_attention_interval": len(kinds),
            }
            self.layers[model] = f"{len(kinds)} of {of} layers, one of each kind"
            cut = {key: value for key, value in entry.items() if key != "layers"}
        else:
            cut = {**entry, "layers": min(LAYERS, of)}
            self.layers[model] = f"{cut['layers']} of {of} layers"
        if text.get("num_experts"):
            self.layers[model] += f", {text['num_experts']} experts"
        cut |= _sizes(entry, given, text)
        if text != given:
            cut["source"] = f"{SHAPES}/{model}"
            self.shapes[f"{cut['source']}/{CONFIG}"] = content
        return cut

    def _described(self, model: str, precision: str) -> StandIn:
        entry, made = self.known[model]["precisions"][precision], self._precisions(model)
        quant, first = (model, precision), made[precision]
        while "from" in first:
            quant = source_quant(quant[0], first["from"])
            first = self._precisions(quant[0])[quant[1]]
        weights = OWN_WEIGHTS
        if first.get("recipe") == "random":
            name = self.known[model].get("stand_in", {}).get("model", model)
            name = f"{name} {_wanted(precision, entry)}" if "repository" in entry else name
            weights = f"{name}, drawn: {self.layers[model]}{_format(made[precision])}"
        return StandIn(
            model=model, precision=precision, weights=weights, unlike=entry.get("stand_in", {}).get("unlike")
        )


def _sizes(entry: JsonObject, before: JsonObject, after: JsonObject) -> JsonObject:
    """The sizes of drawn weights with other layers and experts, by proportion; none where the entry says none."""
    if "disk_gb" not in entry:
        return {}
    ends = 4 * before["vocab_size"] * before["hidden_size"] / 1e9  # embedding and output, 2 bytes each
    layers = entry.get("layers", before["num_hidden_layers"]) + before.get("mtp_num_hidden_layers", 0)
    kept = min(LAYERS, after["num_hidden_layers"]) + after.get("mtp_num_hidden_layers", 0)
    share = kept / layers * (after.get("num_experts") or 1) / (before.get("num_experts") or 1)
    disk = ends + max(0.0, entry["disk_gb"] - ends) * share
    return {"disk_gb": round(disk, 1), "gpu_memory_gb": round(disk + BESIDE_GB, 1)}


def _no_larger(entry: JsonObject, source: JsonObject) -> JsonObject:
    """An entry whose sizes are at most those of drawn weights that it is built from: its own may be of all layers."""
    if source.get("recipe") != "random":
        return entry
    sizes = {key: min(entry.get(key, source[key]), source[key]) for key in SIZES if key in source}
    return {**entry, **sizes}


def _wanted(precision: str, entry: JsonObject) -> str:
    """The precision of the drawn model that stands in for one of these entries."""
    wanted: str = entry.get("stand_in", {}).get("precision", precision)
    return wanted


def _format(entry: JsonObject) -> str:
    made = entry.get("scheme") or entry.get("type")
    if not made:
        return ""
    return f", {made} by {entry['recipe']}" + (", experts only" if entry.get("experts_only") else "")


def as_processes(engines: Mapping[str, JsonObject]) -> tuple[dict[str, JsonObject], dict[str, str]]:
    """The engines, those in containers as processes where one of their kind is one; and which one each was made of.

    The container's arguments are laid over those of the process, which leave out what its machine cannot compile; but
    for those that say how much of a card is taken, so that several stand-ins have room on one.
    """
    found, hosts = dict(engines), {}
    for name, entry in engines.items():
        host = _host(engines, entry) if entry["runtime"] == "docker" else None
        if host is None:
            continue
        inside = (entry.get("container") or {}).get("cache")
        variables = entry.get("environment", {}).items()
        found[name] = {
            **{key: value for key, value in entry.items() if key not in OF_CONTAINERS},
            "runtime": "process",
            "lock": engines[host]["lock"],
            "arguments": {
                **engines[host]["arguments"],
                **{key: value for key, value in entry["arguments"].items() if key not in OF_MEMORY},
            },
            "environment": {
                **engines[host].get("environment", {}),
                **{key: value for key, value in variables if not (inside and value.startswith(f"{inside}/"))},
            },
        }
        hosts[name] = host
    return found, hosts


def _host(engines: Mapping[str, JsonObject], entry: JsonObject) -> str | None:
    """The process that an engine in a container is started as: of its kind, on as many GPUs if there is one."""
    gpus = entry.get("gpus", 0)
    processes = {
        name: each.get("gpus", 0)
        for name, each in engines.items()
        if each["kind"] == entry["kind"] and each["runtime"] == "process" and each.get("nodes", 1) == 1
    }
    alike = [name for name, count in processes.items() if bool(count) == bool(gpus)]
    return next((name for name in alike if processes[name] == gpus), alike[0] if alike else None)

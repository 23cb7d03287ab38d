"""What a command asks of Snakemake, by Snakemake's own parser; and that the rules use none of its private interfaces."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from snakemake.cli import parse_args

from scripts.grid.asked import CHATTY, LOOKING, Asked, read_asked

SESSION = "results/cells/m/p/e/v/session-00/session.json"


def asked(*arguments: str) -> Asked:
    return read_asked(parse_args, arguments)


def test_targets_and_what_is_to_be_made_again() -> None:
    given = asked("--cores", "1", "-R", SESSION, "--until", "table", "--", "results/table.md")
    assert (given.targets, given.forcerun, given.until) == (("results/table.md",), (SESSION,), ("table",))
    assert not (given.looks or given.dry_run or given.chatty or given.force or given.force_all)
    assert set(given.names) == {"results/table.md", SESSION, "table"}


@pytest.mark.parametrize(
    ("arguments", "again"),
    [
        (("results/table.md",), False),
        (("-R", SESSION, "--", "results/table.md"), True),
        (("-R", "run_session", "--", "results/table.md"), True),
        (("-R", "force_cell", "--", "results/table.md"), False),
        (("-f", SESSION), True),
        (("-f", "results/table.md"), False),
        (("-F", "results/table.md"), True),
    ],
)
def test_a_file_is_made_again_where_it_or_its_rule_is_named(arguments: tuple[str, ...], again: bool) -> None:
    assert asked(*arguments).makes_again(SESSION, "run_session") is again


@pytest.mark.parametrize(
    "arguments",
    [
        ("-n",),
        ("--lint",),
        ("--summary",),
        ("--rulegraph",),
        ("--dag",),
        ("--list-rules",),
        ("--list-changes", "code"),
    ],
)
def test_what_only_looks_is_known(arguments: tuple[str, ...]) -> None:
    given = asked(*arguments)
    assert given.looks and given.dry_run is (arguments == ("-n",))
    assert not asked("--cores", "1").looks


def test_a_profile_is_read_and_a_job_of_a_cluster_is_known(tmp_path: Path) -> None:
    profile = tmp_path / "profile.yaml"
    profile.write_text("keep-going: true\nquiet: [rules]\nforceall: true\n", encoding="utf-8")
    given = asked("--workflow-profile", str(profile), "results/table.md")
    assert given.force_all and given.chatty and given.targets == ("results/table.md",)
    assert given.executor is None and asked("--executor", "local").executor is None
    assert asked("--mode", "remote").is_remote_job and not given.is_remote_job


def test_every_option_that_is_heeded_is_one_of_snakemakes() -> None:
    known = vars(parse_args([])[1])
    assert not {*LOOKING, *CHATTY, "rerun_incomplete", "forceall", "force"} - set(known)
    assert asked("--rerun-incomplete").rerun_incomplete and asked("--quiet").chatty and asked("-p").chatty


def test_rules_use_no_private_interface_of_snakemake_and_hold_no_logic(root: Path) -> None:
    files = [root / "Snakefile", *(root / "rules").glob("*.smk")]
    for path in files:
        text = path.read_text(encoding="utf-8")
        found = re.findall(
            r"workflow\.dag\b|\bgc\.|__signature__|workflow\._|^\s*(?:for|while|try)\b.*:$",
            text,
            re.MULTILINE,
        )
        assert not found, f"{path.name}: {found}"
    assert len((root / "rules/common.smk").read_text(encoding="utf-8").splitlines()) < 200


def test_the_gpu_memory_that_is_shared_is_read() -> None:
    given = asked("--resources", "gpu=16", "gpu_gb=280", "--", "results/table.md")
    assert (given.resources, given.gpu_gb) == (("gpu", "gpu_gb"), 280)
    assert (asked("--cores", "1").resources, asked("--cores", "1").gpu_gb) == ((), 0)

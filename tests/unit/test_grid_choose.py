"""Which grid `auto` chooses, and what it says."""

from __future__ import annotations

import pytest

from scripts.common.errors import ConfigError
from scripts.grid.choose import BLACKWELL, choose_grid

RTX = "NVIDIA RTX PRO 6000 Blackwell Server Edition"


def choose(
    gpus: list[str], docker: str | None = None, known: tuple[str, ...] = ("embedded", "finding")
) -> tuple[str, str]:
    choice = choose_grid("auto", "config/config.yaml", known, lambda: gpus, lambda: docker)
    return choice.name, choice.why


def test_four_blackwell_gpus_and_docker_make_the_grid_of_the_finding() -> None:
    assert choose([RTX] * 4) == ("finding", "auto: four Blackwell GPUs and Docker")


@pytest.mark.parametrize(
    ("gpus", "docker", "known", "said"),
    [
        ([], None, ("embedded", "finding"), "no NVIDIA GPU is seen"),
        ([RTX] * 3, None, ("embedded", "finding"), "3 GPUs, 3 of them Blackwell"),
        (["NVIDIA H200"] * 8, None, ("embedded", "finding"), "8 GPUs, 0 of them Blackwell"),
        ([RTX] * 4, "Docker does not answer", ("embedded", "finding"), "but Docker does not answer"),
        ([RTX] * 4, None, ("embedded",), "there is no config/grids/finding.yaml"),
    ],
)
def test_anything_less_makes_the_embedded_grid_and_says_why(
    gpus: list[str], docker: str | None, known: tuple[str, ...], said: str
) -> None:
    name, why = choose(gpus, docker, known)
    assert name == "embedded"
    assert why.startswith("auto: ")
    assert said in why


@pytest.mark.parametrize(
    "name", [RTX, "NVIDIA B200", "NVIDIA GB200", "NVIDIA GeForce RTX 5090", "NVIDIA B300"]
)
def test_blackwell_gpus_are_known_by_name(name: str) -> None:
    assert BLACKWELL.search(name)


@pytest.mark.parametrize(
    "name", ["NVIDIA H100 80GB HBM3", "NVIDIA RTX 6000 Ada Generation", "Tesla T4", "NVIDIA A100"]
)
def test_other_gpus_are_not(name: str) -> None:
    assert not BLACKWELL.search(name)


def test_a_named_grid_is_taken_and_an_unknown_one_refused() -> None:
    assert choose_grid("embedded", "--config", ["embedded"]).why == "named by --config"
    assert choose_grid("embedded", "config/config.yaml", ["embedded"]).why == "named by config/config.yaml"
    with pytest.raises(
        ConfigError, match=r"--config: grid: there is no grid 'embeded'\n.*did you mean 'embedded'"
    ):
        choose_grid("embeded", "--config", ["embedded"])

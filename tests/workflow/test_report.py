"""The report by the one command, from real sessions, and read in a real browser."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from checkouts import ENGINE, GRID, Checkout, Shared, copy_checkout
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.patience import HANGS

CELLS = f"results/cells/tinychart-dense/bf16/{ENGINE}"
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
PAPER, ACROSS = 703, 964  # CSS pixels between the margins of a sheet: of A4, and of letter lying on its side
SHAKEN = """
  shaken:
    description: noise of up to 1 nat on each logit, so that a short replay flips too
    arguments:
      llama-cpp-python: {jitter: 1.0}
"""


@pytest.fixture(scope="module")
def reported(root: Path, engine: None, shared: Shared) -> Checkout:
    """A checkout in which `snakemake --cores 1` was run: a cell, a leaky control, and one that must flip."""

    def make(folder: Path) -> None:
        report_on(copy_checkout(root, folder))

    return shared("reported", make)


def report_on(checkout: Checkout) -> None:
    """Make table and report of a grid that differs, for a known reason and not."""
    checkout.edit("config/engines.yaml", "\nvariants:\n", f"\nvariants:\n{SHAKEN}")
    grid: dict[str, Any] = copy.deepcopy(GRID)
    block = {**GRID["blocks"][0], "precisions": ["bf16"]}
    flips = ["wide", "first-block", "near-tie"]
    grid |= {
        "forced": 2,
        "blocks": [
            block,
            {**block, "variants": ["leaky"], "expect": ["harness"]},
            {**block, "variants": ["shaken"], "expect": flips},
        ],
        "ablations": [
            {
                "model": "tinychart-dense",
                "precision": "bf16",
                "engine": ENGINE,
                "baseline": "base",
                "changes": ["shaken"],
            }
        ],
    }
    checkout.write_yaml("config/grids/tiny.yaml", grid)
    done = checkout.run("--cores", "1")
    assert done.returncode == 0, done.stdout


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    driver = webdriver.Chrome(options, Service(shutil.which("chromedriver")))
    driver.get("about:blank")  # what Chromium shows at its start asks for much, for a while
    yield driver
    driver.quit()


@pytest.fixture
def page(reported: Checkout, browser: webdriver.Chrome) -> webdriver.Chrome:
    browser.get((reported.path / "results/report.html").as_uri())
    return browser


def cell(reported: Checkout, variant: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((reported.path / CELLS / variant / "cell.json").read_text())
    return found


def requested(browser: webdriver.Chrome) -> list[str]:
    """The addresses that were asked for since this was last looked at."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [
        each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"
    ]


def test_the_table_needs_no_report_and_the_report_no_table(reported: Checkout, fresh: Checkout) -> None:
    assert "report" not in fresh.jobs("results/table.md")
    assert {"make_table", "table"}.isdisjoint(fresh.jobs("report"))
    assert reported.jobs() == {}


def test_an_edit_of_the_page_makes_it_again_and_nothing_else(reported: Checkout, tmp_path: Path) -> None:
    checkout = reported.copy(tmp_path / "checkout")
    checkout.edit("scripts/report/web/page.css", "body {", "body {\n  margin: 0;")
    assert checkout.jobs("report") == {"report": 1}


def test_a_side_table_that_is_there_becomes_a_section(reported: Checkout, tmp_path: Path) -> None:
    checkout = reported.copy(tmp_path / "checkout")
    assert 'id="page-leak"' not in (checkout.path / "results/report.html").read_text()
    done = checkout.run("--cores", "1", "results/leak.md")
    assert done.returncode == 0, done.stdout
    done = checkout.run("--cores", "1", "report")
    assert done.returncode == 0, done.stdout
    assert 'id="page-leak"' in (checkout.path / "results/report.html").read_text()
    assert checkout.jobs("report") == {}


def test_a_partial_report_is_made_of_what_exists(reported: Checkout, tmp_path: Path) -> None:
    checkout = reported.copy(tmp_path / "checkout")
    shutil.rmtree(checkout.path / CELLS / "shaken")
    done = checkout.run("--cores", "1", "report", "--config", "partial=true")
    assert done.returncode == 0, done.stdout
    text = (checkout.path / "results/report.html").read_text()
    assert "not run: no cell.json" in text
    assert 'id="cell-1-from"' in text


def without_network() -> list[str]:
    """What to put before a command so that it has no network; nothing where that needs a right that is lacking."""
    command = ["unshare", "--net"]
    able = os.geteuid() == 0 and subprocess.run([*command, "true"], capture_output=True).returncode == 0
    return command if able else []


@pytest.mark.needs_chromium
def test_snakemakes_own_report_is_made_and_opens_without_network(
    reported: Checkout, browser: webdriver.Chrome, tmp_path: Path
) -> None:
    checkout = reported.copy(tmp_path / "checkout")
    command = [*without_network(), *checkout.command("--report", "results/snakemake.html")]
    done = subprocess.run(command, cwd=checkout.path, capture_output=True, text=True, timeout=HANGS)
    assert done.returncode == 0, done.stdout + done.stderr
    requested(browser)
    browser.get((checkout.path / "results/snakemake.html").as_uri())
    asked = requested(browser)
    assert asked
    assert all(address.startswith(("file:", "data:", "blob:")) for address in asked), asked
    shown = browser.find_element(By.TAG_NAME, "body").text
    for category in ("Table", "Cells", "Causes", "Report"):
        assert category in shown


@pytest.mark.needs_chromium
def test_the_page_opens_from_disk_and_asks_for_nothing(reported: Checkout, browser: webdriver.Chrome) -> None:
    requested(browser)
    browser.get_log("browser")
    address = (reported.path / "results/report.html").as_uri()
    browser.get(address)
    for folded in browser.find_elements(By.CSS_SELECTOR, "details > summary"):
        folded.click()
    asked = requested(browser)
    assert address in asked
    assert all(each == address or each.startswith("data:") for each in asked), asked
    assert [entry for entry in browser.get_log("browser") if entry["level"] == "SEVERE"] == []


@pytest.mark.needs_chromium
def test_a_click_sorts_the_table_and_another_turns_it_round(page: webdriver.Chrome) -> None:
    table = page.find_element(By.CSS_SELECTOR, "#table table")

    def column(name: str) -> tuple[WebElement, list[str]]:
        headers = table.find_elements(By.CSS_SELECTOR, "th")
        index = [header.text.split("\u00a0")[0] for header in headers].index(name)
        rows = table.find_elements(By.CSS_SELECTOR, "tbody tr")
        return headers[index], [row.find_elements(By.TAG_NAME, "td")[index].text for row in rows]

    header, classes = column("divergence")
    assert classes[:2] == ["none observed", "harness"]
    gravest = ["none observed", classes[2], "harness"]
    header.find_element(By.TAG_NAME, "button").click()
    assert column("divergence")[1] == gravest
    assert header.get_attribute("aria-sort") == "ascending"
    header.find_element(By.TAG_NAME, "button").click()
    assert column("divergence")[1] == gravest[::-1]
    assert header.get_attribute("aria-sort") == "descending"
    other, texts = column("text")
    other.find_element(By.TAG_NAME, "button").click()
    assert header.get_attribute("aria-sort") is None
    assert column("text")[1] == sorted(texts)


@pytest.mark.needs_chromium
@pytest.mark.parametrize(("number", "variant"), [(1, "leaky"), (2, "shaken")])
def test_the_strip_marks_each_first_difference_where_cell_json_says(
    reported: Checkout, page: webdriver.Chrome, number: int, variant: str
) -> None:
    summary = cell(reported, variant)
    differences = summary["differences"]
    assert differences
    article = page.find_element(By.ID, f"cell-{number}")
    frame = article.find_element(By.ID, f"cell-{number}-frame").rect
    marks = article.find_elements(By.CSS_SELECTOR, f"[id^='cell-{number}-mark-']")
    assert len(marks) == len(differences)
    lengths: dict[str, int] = {}
    order = [(each["session"], each["replay"]) for each in summary["hashes"]]
    for session, replay in order:
        path = reported.path / CELLS / variant / f"session-{session:02d}/replay-{replay:02d}.transcript.jsonl"
        turns = [json.loads(line) for line in path.read_text().splitlines()]
        lengths[path.as_posix()] = sum(len(turn["output_ids"]) for turn in turns)
    columns = max(lengths.values())  # the tests' workload has one scenario
    for each in differences:
        mark = article.find_element(By.ID, f"cell-{number}-mark-{each['session']}-{each['replay']}-0")
        box = mark.rect
        across = (box["x"] + box["width"] / 2 - frame["x"]) / frame["width"]
        down = (box["y"] + box["height"] / 2 - frame["y"]) / frame["height"]
        assert across == pytest.approx(each["position"] / columns, abs=0.004)
        assert int(down * len(order)) == order.index((each["session"], each["replay"]))
        assert f"token {each['position']}" in (
            mark.find_element(By.TAG_NAME, "title").get_attribute("textContent") or ""
        )
    figure = article.find_element(By.TAG_NAME, "figure")
    states = (figure.get_attribute("data-states") or "").split()
    assert {"leaky": "after-prompt", "shaken": "after-flip"}[variant] in states


@pytest.mark.needs_chromium
def test_a_mark_leads_to_the_two_texts_with_both_probabilities(
    reported: Checkout, page: webdriver.Chrome
) -> None:
    difference = cell(reported, "shaken")["differences"][0]
    place = f"{difference['session']}-{difference['replay']}"
    mark = page.find_element(By.ID, f"cell-2-mark-{place}-0")
    link = mark.find_element(By.TAG_NAME, "a")
    pair = page.find_element(By.ID, str(link.get_dom_attribute("href")).removeprefix("#"))
    assert not pair.is_displayed()
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", mark)
    link.click()
    WebDriverWait(page, 10).until(lambda _: pair.is_displayed())
    marked = [each.text for each in pair.find_elements(By.TAG_NAME, "mark")]
    assert len(marked) == 2
    assert marked[0] != marked[1]
    rows = pair.find_elements(By.CSS_SELECTOR, "tbody tr")
    assert [row.find_element(By.TAG_NAME, "code").text for row in rows] == marked
    for row in rows:
        shares = [each.text for each in row.find_elements(By.TAG_NAME, "td")[1:]]
        assert all(share.endswith("%") or share == "not listed" for share in shares)
    texts = [each.text for each in pair.find_elements(By.CSS_SELECTOR, ".before")]
    assert texts[0] == texts[1]


@pytest.mark.needs_chromium
def test_where_a_fraction_comes_from_is_a_click_away(reported: Checkout, page: webdriver.Chrome) -> None:
    page.find_element(By.CSS_SELECTOR, "#table a[href='#cell-0-from']").click()
    source = page.find_element(By.ID, "cell-0-from")
    assert source.get_attribute("open") is not None
    record = json.loads((reported.path / CELLS / "base/session-00/session.json").read_text())
    told = source.text
    for value in (
        record["engine"],
        record["engine_record"]["lock_sha256"],
        record["weights"]["manifest_sha256"],
        record["machine"]["cpu"],
        record["started"],
        record["workload"]["sha256"],
        record["files"][0]["transcript"]["sha256"],
    ):
        assert str(value) in told


@pytest.mark.needs_chromium
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_scrolls_tables_and_not_the_page(page: webdriver.Chrome, scheme: str) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    try:
        page.execute_script("document.querySelectorAll('details').forEach(each => { each.open = true; })")
        width = page.execute_script("return [document.documentElement.scrollWidth, innerWidth]")
        assert width == [390, 390]
        wide = page.find_element(By.CSS_SELECTOR, "#each .scroll")
        assert page.execute_script("return arguments[0].scrollWidth > arguments[0].clientWidth", wide)
        paper = page.execute_script("return getComputedStyle(document.body).backgroundColor")
        assert paper == {"light": "rgb(255, 255, 255)", "dark": "rgb(20, 23, 27)"}[scheme]
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.needs_chromium
def test_on_paper_nothing_is_cut_off_and_how_to_read_it_is_there(page: webdriver.Chrome) -> None:
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": PAPER, "mobile": False})
    dark = {"name": "prefers-color-scheme", "value": "dark"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print", "features": [dark]})
    try:
        folded = "return [...document.querySelectorAll('details.legend')].filter(each => !each.open).length"
        before = page.execute_script(folded)
        page.execute_script("dispatchEvent(new Event('beforeprint'))")
        assert page.find_element(By.CSS_SELECTOR, "#legend li").is_displayed()
        too_wide = (
            "return [...document.querySelectorAll(arguments[0])]"
            ".filter(each => each.getBoundingClientRect().right > innerWidth + 1)"
            ".map(each => `${each.className} ${each.getBoundingClientRect().right}`)"
        )
        assert page.execute_script(too_wide, "table:not(.details), svg, .text") == []
        across = "return getComputedStyle(document.querySelector('.details').closest('section')).page"
        assert page.execute_script(across) == "across"
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE | {"width": ACROSS, "mobile": False})
        assert page.execute_script(too_wide, ".details") == []
        # Chromium leaves a header that it repeats on the next page empty where a button is a box in it.
        shown = "return getComputedStyle(document.querySelector('th button')).display"
        assert page.execute_script(shown) == "contents"
        ink = "return getComputedStyle(document.documentElement).getPropertyValue('--ink')"
        assert page.execute_script(ink) == "#1b1f24"
        page.execute_script("dispatchEvent(new Event('afterprint'))")
        assert page.execute_script(folded) == before > 0
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "", "features": []})


def test_the_report_has_the_ablations_and_forced_passes_and_names_no_folder(reported: Checkout) -> None:
    text = (reported.path / "results/report.html").read_text()
    assert str(reported.path) not in text
    assert "What changes the bits of tinychart-dense bf16?" in text
    modes = cell(reported, "base")["forced"]
    for mode in ("prefill", "decode"):
        assert f"0 % (0 of {modes[mode]['positions']:,})" in text

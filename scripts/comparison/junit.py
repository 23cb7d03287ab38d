"""A check as JUnit XML, which continuous integration reads: a test case for each cell."""

from __future__ import annotations

from xml.etree import ElementTree

from scripts.records.check import Checked


def as_junit(found: Checked) -> str:
    """The XML: changed is a failure, could not tell a test that was skipped."""
    outcomes = [cell.outcome for cell in found.cells]
    suite = ElementTree.Element(
        "testsuite",
        name="tempzero",
        tests=str(len(outcomes)),
        failures=str(outcomes.count("changed")),
        skipped=str(outcomes.count("could not tell")),
        errors="0",
    )
    for cell in found.cells:
        case = ElementTree.SubElement(suite, "testcase", classname="tempzero", name=cell.name)
        if cell.outcome == "changed":
            ElementTree.SubElement(case, "failure", message=cell.reason)
        elif cell.outcome == "could not tell":
            ElementTree.SubElement(case, "skipped", message=cell.reason)
    ElementTree.indent(suite)
    return ElementTree.tostring(suite, encoding="unicode", xml_declaration=True) + "\n"

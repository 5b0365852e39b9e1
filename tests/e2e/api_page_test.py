"""Checks that docs/API.md has the fields that are carried out, tests of its conformance list, and the tried
libraries."""

import re

from clients_test import run
from daemon import ROOT

PAGE = (ROOT / "docs/API.md").read_text()
OPERATIONS = re.sub(r"\s+", " ", (ROOT / "docs/OPERATIONS.md").read_text())


def test_every_field_that_is_carried_out_is_there():
    told = re.search(r"These are carried out: (.*?)\. ", OPERATIONS).group(1)
    fields = re.findall(r"`(\w+)`", told)
    assert len(fields) > 30
    assert [field for field in fields if f"`{field}`" not in PAGE] == []


def test_every_item_of_the_conformance_list_has_a_test_or_a_reason():
    rows = re.findall(r"^\| ([\d, –]+) \| (holds|by hand|open) \| (.*) \|$",
                      PAGE[PAGE.index("## Conformance"):], re.M)
    items = set()
    for numbers, _, _ in rows:
        for part in numbers.split(", "):
            first, _, last = part.partition("–")
            items |= set(range(int(first), int(last or first) + 1))
    assert items == set(range(1, 141))
    sources = [file.read_text() for file in (ROOT / "tests").rglob("*") if file.suffix in (".py", ".cc")]
    known = {name for text in sources for name in re.findall(r"^def (test_\w+)", text, re.M)}
    known |= {f"{suite}.{name}" for text in sources
              for suite, name in re.findall(r"^TEST(?:_[FP])?\((\w+),\s*(\w+)\)", text, re.M)}
    for numbers, state, text in rows:
        named = re.findall(r"`(test_\w+|[A-Z]\w+\.[A-Z]\w+)`", text)
        assert set(named) <= known, set(named) - known
        assert named or state != "holds" or "; " in text or "more than" in text, numbers


def test_the_libraries_are_those_that_are_tried():
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ", PAGE[PAGE.index("## Libraries"):], re.M)
    pinned = re.findall(r"^(openai)==(.*)$", (ROOT / "tests/e2e/requirements.txt").read_text(), re.M)
    tried = {(each.name, each.version) for each in run.CLIENTS} | set(pinned)
    assert len(rows) > 3 and rows[0] in pinned
    assert [row for row in rows if row not in tried] == []

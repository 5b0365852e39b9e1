"""Checks that docs/API.md has every route, the fields that are carried out, and the tried libraries."""

import re

from clients_test import run
from daemon import ROOT

PAGE = (ROOT / "docs/API.md").read_text()
OPERATIONS = re.sub(r"\s+", " ", (ROOT / "docs/OPERATIONS.md").read_text())


def test_every_route_is_there():
    texts = [file.read_text() for file in (ROOT / "daemon/api").rglob("*.cc")]
    routes = [route for text in texts for route in re.findall(r'\{"(/[^"]+)", |k\w+Route = "([^"]+)"', text)]
    routes = [one or other for one, other in routes]
    assert len(routes) > 18
    assert [route for route in routes if f" {route}`" not in PAGE] == []


def test_every_field_that_is_carried_out_is_there():
    told = re.search(r"These are carried out: (.*?)\. ", OPERATIONS).group(1)
    fields = re.findall(r"`(\w+)`", told)
    assert len(fields) > 30
    assert [field for field in fields if f"`{field}`" not in PAGE] == []


def test_the_libraries_are_those_that_are_tried():
    rows = re.findall(r"^\| ([\w-]+) \| ([\d.]+) \| ", PAGE[PAGE.index("## Libraries"):], re.M)
    pinned = re.findall(r"^(openai)==(.*)$", (ROOT / "tests/e2e/requirements.txt").read_text(), re.M)
    tried = {(each.name, each.version) for each in run.CLIENTS} | set(pinned)
    assert len(rows) > 3 and rows[0] in pinned
    assert [row for row in rows if row not in tried] == []

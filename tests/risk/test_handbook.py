"""The handbook, docs/rules, says what the tests calculate: every table, every parameter, every link."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from pipeline.rules import sources_of
from tests.risk.handbook import DRAWN, MACHINES, PAGES, diagram, marked, table
from tests.risk.margin_examples import EXAMPLES

ROOT = PAGES.parents[1]
TABLES = [(page, name, text) for page in sorted(PAGES.glob("*.md")) for name, text in marked(page)]
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]*)?\)")


def heading(line: str) -> str:
    """What a link calls a heading."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("#").strip().lower()).replace(" ", "-")


@pytest.mark.parametrize(("page", "name", "text"), TABLES, ids=lambda value: getattr(value, "name", None))
def test_a_table_is_that_of_its_rows(page: Path, name: str, text: str) -> None:
    assert text == table(name), "run: python -m tests.risk.handbook"


def test_a_diagram_is_that_of_its_state_machine() -> None:
    drawn = [found for page in sorted(PAGES.glob("*.md")) for found in DRAWN.finditer(page.read_text())]
    assert sorted(found[2] for found in drawn) == sorted(MACHINES)
    for found in drawn:
        assert found[3] == diagram(found[2]), "run: python -m tests.risk.handbook"


def test_every_row_is_on_one_page() -> None:
    files = [path.stem for path in EXAMPLES.glob("margin/*.csv")]
    assert Counter(name for _, name, _ in TABLES) == Counter([*files, "disagreements"])


@pytest.mark.parametrize("book", ["finra-4210", "house-example"])
def test_every_parameter_is_on_a_page(book: str) -> None:
    text = "".join(page.read_text() for page in PAGES.glob("*.md"))
    assert [name for name in sources_of(book) if f"`{name}`" not in text] == []


def test_every_unchecked_parameter_is_in_the_list() -> None:
    listed = (PAGES / "README.md").read_text().split("## Parameters marked [U]")[1].split("\n## ")[0]
    unchecked = [name for name, source in sources_of("finra-4210").items() if "[U]" in source]
    assert unchecked
    assert [name for name in unchecked if f"`{name}`" not in listed] == []


@pytest.mark.parametrize("page", sorted(PAGES.glob("*.md")), ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for link, anchor in LINK.findall(page.read_text()):
        target = (page.parent / link).resolve() if link else page
        assert target.exists(), link
        assert target.is_relative_to(ROOT), link
        if anchor and target.suffix == ".md":
            assert anchor[1:] in [heading(line) for line in target.read_text().splitlines() if line[:1] == "#"], anchor

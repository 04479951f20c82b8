"""The tables and state diagrams of docs/rules, from what the tests calculate and the code itself:
`python -m tests.risk.handbook` writes them anew.

A table stands between `<!-- examples: NAME -->` and `<!-- end -->`; NAME is a file of tests/risk/examples/margin, or
disagreements. A diagram stands between `<!-- states: NAME -->` and `<!-- end -->`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from risk import calls, proposals
from tests.risk.margin_examples import EXAMPLES, load

PAGES = Path(__file__).parents[2] / "docs/rules"
MARKED = re.compile(r"(<!-- examples: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


DRAWN = re.compile(r"(<!-- states: (\w+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)
MACHINES: dict[str, Any] = {"calls": calls.TRANSITIONS, "proposals": proposals.TRANSITIONS}


def diagram(name: str) -> str:
    """A state machine in Mermaid, from its own table of transitions."""
    steps = [
        (before or "[*]", after, step.lower())
        for step, moves in MACHINES[name].items()
        for before, after in moves.items()
    ]
    together: dict[tuple[str, str], list[str]] = {}
    for before, after, step in steps:
        together.setdefault((before, after), []).append(step)
    arrows = [f"    {before} --> {after}: {', '.join(names)}" for (before, after), names in together.items()]
    ends = {after for _, after, _ in steps} - {before for before, after, _ in steps if before != after}
    arrows += [f"    {end} --> [*]" for end in sorted(ends)]
    return "\n".join(["```mermaid", "stateDiagram-v2", *arrows, "```", ""])


def table(name: str) -> str:
    """The table of a file as Markdown."""
    known = EXAMPLES / "margin" / f"{name}.csv"
    rows = [example.row for example in load(f"{'margin/' if known.exists() else ''}{name}.csv")]
    lines = [_disagreement(row) if "ours" in row else _example(row) for row in rows]
    head = list(lines[0])
    # A column in which nothing is said is left out.
    head = [column for column in head if any(line[column] for line in lines)]
    return "\n".join(
        [_line(head), _line(["---"] * len(head)), *(_line([line[column] for column in head]) for line in lines), ""]
    )


def _example(row: dict[str, str]) -> dict[str, str]:
    return {
        "id": row["id"],
        "source": _source(row),
        "basis": row["basis"],
        "rulebook": row.get("rulebook", ""),
        **_account(row),
        "expected": _plain(row["expected"]),
        "working": _plain("; ".join(filter(None, (row["working"], row["note"])))),
    }


def _disagreement(row: dict[str, str]) -> dict[str, str]:
    return {
        "id": row["id"],
        "source": _source(row),
        "what it says": _plain(row["says"]),
        "what is followed": _plain(row["follows"]),
        "why": _plain(row["why"]),
        **_account(row),
        "theirs": _plain(row["theirs"]),
        "ours": _plain(row["ours"]),
    }


def _account(row: dict[str, str]) -> dict[str, str]:
    return {name: _plain(row[name]) for name in ("underlying", "holdings", "cash")}


def _source(row: dict[str, str]) -> str:
    return f"[{_plain(row['source'])}]({row['url']})" if row["url"] else _plain(row["source"])


def _plain(text: str) -> str:
    """What Markdown shows as it is written."""
    return re.sub(r"\s*;\s*", "; ", re.sub(r"([|*\[\]])", r"\\\1", text))


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def marked(page: Path) -> Iterator[tuple[str, str]]:
    """The name and the text of each table of a page."""
    for found in MARKED.finditer(page.read_text()):
        yield found[2], found[3]


def write() -> None:
    """Write every table and every diagram of every page anew."""
    for page in sorted(PAGES.glob("*.md")):
        text = MARKED.sub(lambda found: f"{found[1]}{table(found[2])}{found[4]}", page.read_text())
        page.write_text(DRAWN.sub(lambda found: f"{found[1]}{diagram(found[2])}{found[4]}", text))


if __name__ == "__main__":
    write()

"""What a verification found: where something is not as it was written, and how much was looked at."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console
from rich.text import Text

#: How many findings of one object are told one by one.
MOST = 20


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it must be. where: the record (log/topic/partition/offset), object, digest or fact."""

    where: str
    expected: str
    found: str


@dataclass(slots=True)
class Findings:
    """What is collected on the way.

    Fields:
      wrong: in the order in which it was found. counts: what was looked at. notes: what is no fault and worth knowing.
      last: the last digest of each log, to be held against what was published apart.
      whole: what is said where nothing is wrong.
    """

    wrong: list[Finding] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    last: dict[str, str] = field(default_factory=dict)
    whole: str = "Nothing was changed, removed, moved or repeated."

    def add(self, where: str, expected: str, found: str) -> None:
        """Something is wrong."""
        self.wrong.append(Finding(where, expected, found))

    def document(self) -> dict[str, Any]:
        """All of it as plain data."""
        return {
            "findings": [{name: getattr(own, name) for name in own.__slots__} for own in self.wrong],
            "checked": dict(self.counts),
            "notes": self.notes,
            "last_digests": self.last,
        }

    def render(self, console: Console) -> None:
        """Print what is wrong, or that nothing is, and what was looked at."""
        for own in self.wrong:
            console.print(Text(own.where, "bold red"), soft_wrap=True)
            console.print(Text(f"  expected: {own.expected}\n  found:    {own.found}"), soft_wrap=True)
        checked = ", ".join(f"{count:,} {name}" for name, count in self.counts.items() if count)
        console.print(Text(f"Checked: {checked or 'nothing'}."))
        for note in self.notes:
            console.print(Text(note, "dim"))
        for log, digest in self.last.items():
            console.print(Text(f"Last digest of {log}: {digest}"), soft_wrap=True)
        if self.wrong:
            console.print(Text(f"{len(self.wrong):,} not as they were written.", "red"))
        else:
            console.print(Text(self.whole, "green"))

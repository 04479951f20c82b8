"""The capability table of the engines."""

from __future__ import annotations

from rich.table import Table

from runners.engine import Capability
from runners.engines import ENGINES


def table() -> Table:
    """A row an engine: how it has each capability, or why it has not."""
    found = Table("engine", "for", *(capability.value for capability in Capability), show_lines=True)
    for engine in ENGINES.values():
        cells = (
            f"[green]yes[/]: {engine.has[c]}" if c in engine.has else f"[red]no[/]: {engine.lacks[c]}"
            for c in Capability
        )
        found.add_row(engine.name, engine.purpose, *cells)
    return found

"""A progress bar over a replayed day, fed by the folds that run in this process."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from pipeline.day import Manifest
from schemas.scalars import Time
from transforms import ordered


class DayProgress:
    """While entered, shows how much of the day, over all shards and the firm, has been evaluated."""

    def __init__(self, manifest: Manifest, shards: int, console: Console) -> None:
        self.begin, self.length = manifest.begin, manifest.horizon - manifest.begin
        self.come: dict[Any, int] = {}
        columns = (TextColumn("replay"), BarColumn(), TextColumn("{task.percentage:>3.0f}%  {task.description}"))
        self.bar = Progress(*columns, TimeElapsedColumn(), console=console)
        self.task = self.bar.add_task("reading", total=(shards + 1) * self.length)

    def __enter__(self) -> DayProgress:
        self.bar.start()
        ordered.on_advance = self.advance
        return self

    def __exit__(self, *_: object) -> None:
        ordered.on_advance = None
        self.bar.stop()

    def advance(self, shard: Any, instant: int) -> None:
        """A shard has come to an instant; drawn at most once a minute of the day."""
        if instant - self.come.get(shard, self.begin) < 60_000_000 and instant < self.begin + self.length:
            return
        self.come[shard] = instant
        done = sum(min(at - self.begin, self.length) for at in self.come.values())
        self.bar.update(self.task, completed=done, description=Time(instant).text()[11:16] + "Z")

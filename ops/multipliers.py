"""Multipliers of a day's symbols: how many units are in one of each, such as the 100 shares of an option."""

from __future__ import annotations

from pathlib import Path

from pipeline.day import load_manifest
from pipeline.job import load_job
from pipeline.sources import read_records
from schemas.topics import INSTRUMENTS


def multipliers_of(day: Path) -> dict[str, float]:
    """Of every instrument of a day's folder; the last that is told of it holds. Raises DayError."""
    bounds = load_job("replay").bounds(load_manifest(day))
    return {record.symbol: record.multiplier for record in read_records(day, bounds, INSTRUMENTS.name)}

"""Multipliers of a day's symbols: how many units are in one of each, such as the 100 shares of an option."""

from __future__ import annotations

from pathlib import Path

from pipeline.day import files_of, load_manifest
from pipeline.job import load_job
from pipeline.sources import read_file
from schemas.inputs import Instrument
from schemas.topics import INSTRUMENTS
from transforms.parse import parse


def multipliers_of(day: Path) -> dict[str, float]:
    """Of every instrument of a day's folder; the last that is told of it holds. Raises DayError."""
    bounds = load_job("replay").bounds(load_manifest(day))
    raws = (raw for file in files_of(day) if file[0] == INSTRUMENTS.name for raw in read_file(file))
    records = (record for raw in raws for record in parse(raw, bounds)[0].records)
    return {record.symbol: record.multiplier for record in records if isinstance(record, Instrument)}

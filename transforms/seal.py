"""SealOutputs: records to lines while they are still where they were made, so that only bytes cross to the sinks."""

from __future__ import annotations

from dataclasses import dataclass

import apache_beam as beam
import msgspec

from schemas.codec import to_json
from schemas.ids import sealed
from schemas.outputs import Event


@dataclass(eq=False)
class SealOutputs(beam.PTransform):
    """(topic, record) in, (topic, sorting key and line) out."""

    def expand(self, outputs: beam.PCollection) -> beam.PCollection:
        """Encode every record, with its event_id."""
        return outputs | "Seal" >> beam.Map(line_of).with_output_types(tuple[str, bytes])


def line_of(output: tuple[str, msgspec.Struct]) -> tuple[str, bytes]:
    """The record's line behind its sorting key: instant and account, which the line's own text does not begin with."""
    topic, record = output
    key = f"{int(getattr(record, 'as_of', 0)):020d}{getattr(record, 'account_id', '')}\0"
    return topic, key.encode() + (sealed(record) if isinstance(record, Event) else to_json(record))

"""The graph live: from Kafka to Kafka, without an end."""

from __future__ import annotations

import datetime as dt

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.day import sessions_around
from pipeline.graph import MonitorMargin
from pipeline.job import LiveJob
from pipeline.rules import load_rulebooks
from pipeline.sinks import WriteKafka
from pipeline.sources import ReadDay

#: Days that the calendar of a live job reaches ahead: it can run for so long, and submitted again reaches further.
REACH = 1000


def live_monitor(job: LiveJob, date: dt.date) -> MonitorMargin:
    """The graph of a live job, its calendar around the date that it is submitted on.

    Raises:
      ConfigurationError, DayError: before anything starts.
    """
    return MonitorMargin(
        rulebooks=load_rulebooks(job.rulebooks),
        sessions=sessions_around(date, job.calendar, days=REACH),
        bounds=job.bounds(None),
        interval=job.interval_ms * 1000,
        shards=job.shards,
        decoder=job.formats.decoder,
    )


def live_pipeline(
    job: LiveJob,
    source: beam.PTransform,
    options: PipelineOptions,
    date: dt.date,
    opening: tuple[tuple[str, str], ...] = (),
) -> beam.Pipeline:
    """The graph from Kafka to Kafka, to be run; what runs it does not wait for an end that never comes.

    Args:
      opening: (topic, path) of a snapshot's records, for a start without state.
    """
    pipeline = beam.Pipeline(options=options)
    raws = pipeline | "ReadKafka" >> source
    if opening:
        raws = (raws, pipeline | "ReadOpening" >> ReadDay(opening)) | "Opening" >> beam.Flatten()
    _ = raws | "MonitorMargin" >> live_monitor(job, date) | "WriteKafka" >> WriteKafka(job.kafka, job.formats)
    return pipeline

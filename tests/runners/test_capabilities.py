"""Every engine says of every capability how it has it or why it has not; each yes has its test, each no its refusal."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from pipeline.job import load_live_job
from pipeline.live import live_pipeline
from runners.engine import Capability, EngineRefusedError, Run, side_inputs
from runners.engines import ENGINES
from transforms.parse import Raw

ROOT = Path(__file__).parents[1]
ASKED = {
    Capability.REPLAY: Run(),
    Capability.LIVE: Run(live=True),
    Capability.RECOVERY: Run(live=True, checkpoint_ms=1000),
    Capability.CLUSTER: Run(master="127.0.0.1:1"),
    Capability.PACKAGE: Run(package=Path("app.jar")),
}
#: The test that shows each cell that says yes.
SHOWN = {
    ("direct", "replay"): "pipeline/test_golden_day.py::test_shards_change_no_byte",
    ("prism", "replay"): "pipeline/test_engines.py::test_an_engine_on_this_machine_gives_what_direct_gives",
    ("prism", "live"): "pipeline/test_prism_live.py::test_what_prism_publishes_live_is_what_a_replay_gives",
    ("flink", "replay"): "pipeline/test_engines.py::test_an_engine_on_this_machine_gives_what_direct_gives",
    ("flink", "live"): "pipeline/test_live.py::test_what_was_published_live_is_what_a_replay_gives",
    ("flink", "recovery"): "pipeline/test_live.py::test_what_was_published_live_is_what_a_replay_gives",
    ("flink", "cluster"): "pipeline/test_engines.py::test_a_flink_cluster_gives_what_direct_gives",
    ("flink", "package"): "pipeline/test_engines.py::test_a_jar_for_flink_gives_what_direct_gives",
    ("spark", "replay"): "pipeline/test_engines.py::test_an_engine_on_this_machine_gives_what_direct_gives",
    ("spark", "cluster"): "pipeline/test_engines.py::test_a_spark_cluster_gives_what_direct_gives",
    ("spark", "package"): "pipeline/test_engines.py::test_a_jar_for_spark_gives_what_direct_gives",
    ("emr", "replay"): "runners/test_emr.py",
    ("emr", "live"): "runners/test_emr.py",
    ("emr", "recovery"): "runners/test_emr.py",
    ("emr", "package"): "runners/test_emr.py",
    ("dataflow", "replay"): "runners/test_dataflow.py",
}


@pytest.mark.parametrize("name", ENGINES)
def test_every_capability_is_had_or_lacked(name: str) -> None:
    engine = ENGINES[name]
    assert engine.has.keys() | engine.lacks.keys() == set(Capability)
    assert not engine.has.keys() & engine.lacks.keys()


def test_each_yes_is_shown_by_a_test_that_is_there() -> None:
    assert SHOWN.keys() == {(name, c.value) for name, engine in ENGINES.items() for c in engine.has}
    for place in set(SHOWN.values()):
        file, _, test = place.partition("::")
        assert f"def {test or 'test_'}" in (ROOT / file).read_text(), place


@pytest.mark.parametrize(("name", "capability"), [(n, c) for n, engine in ENGINES.items() for c in engine.lacks])
def test_each_no_is_refused_with_its_reason(name: str, capability: Capability) -> None:
    engine, run = ENGINES[name], ASKED[capability]
    with pytest.raises(EngineRefusedError) as refused:
        engine.options(run)
    assert any(engine.lacks[c] in str(refused.value) for c in run.asks & engine.lacks.keys())


class _Stub(beam.PTransform):
    """In place of a source: what runs the graph is asked, not where its records come from."""

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        return pbegin | beam.Create([], reshuffle=False) | beam.Map(lambda raw: raw).with_output_types(Raw)


def test_the_live_graph_has_no_side_input() -> None:
    pipeline = live_pipeline(load_live_job("live"), _Stub(), PipelineOptions(), dt.date(2026, 1, 5))
    assert side_inputs(pipeline) == []
    ENGINES["flink"].check_graph(pipeline, Run(live=True))


def test_a_side_input_in_a_graph_without_an_end_is_refused_on_flink() -> None:
    pipeline = beam.Pipeline()
    betas = beam.pvalue.AsDict(pipeline | "Betas" >> beam.Create([("SPY", 1.0)]))
    _ = pipeline | beam.Create(["SPY"]) | "Weigh" >> beam.Map(lambda symbol, known: known[symbol], betas)
    ENGINES["flink"].check_graph(pipeline, Run())
    ENGINES["prism"].check_graph(pipeline, Run(live=True))
    with pytest.raises(EngineRefusedError, match="found one at Weigh"):
        ENGINES["flink"].check_graph(pipeline, Run(live=True))

"""The same day on every engine: byte-identical outputs (design 6, property 2)."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ops.generate import write_day
from ops.stack import flink, spark
from ops.stack.flink import FlinkCluster
from ops.stack.spark import SparkCluster
from pipeline.replay import replay
from runners.engine import Run
from runners.port import free_port
from tests.engines import needed, options_of

pytestmark = pytest.mark.xdist_group("engines")

#: The last is a crash day with options and portfolio margin, by the rules of FINRA 4210.
SCENARIOS = ("crash", "disorder", "options")


@pytest.fixture(scope="module")
def days(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A small day of each scenario, with what Direct makes of it beside it."""
    found = {}
    for scenario in SCENARIOS:
        day = found[scenario] = tmp_path_factory.mktemp(scenario)
        options = scenario == "options"
        write_day(
            day / "day",
            scenario="crash" if options else scenario,
            accounts=10 if options else 40,
            symbols=12,
            seed=5,
            interval_ms=300_000 if options else 60_000,
            options=options,
        )
        replay(day / "day", day / "direct", options_of("direct", Run()))
    return found


@pytest.fixture(scope="module")
def flink_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FlinkCluster]:
    cluster = FlinkCluster(tmp_path_factory.mktemp("flink"), free_port())
    with needed("flink"):
        cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def spark_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkCluster]:
    cluster = SparkCluster(tmp_path_factory.mktemp("spark"), free_port())
    with needed("spark"):
        cluster.start()
    yield cluster
    cluster.stop()


def contents(folder: Path) -> dict[str, list[bytes]]:
    """The lines of every file; of an engine that reads files at once the dead letters come in any order."""
    return {path.name: path.read_bytes().splitlines() for path in sorted(folder.glob("*.jsonl"))}


def same(day: Path, engine: str, run: Run) -> None:
    options_of(engine, run)
    out = day / f"{engine}-{run.master is not None}"
    # As a user runs it; and a job server ends with the process that started it.
    command = [sys.executable, "-m", "ops.cli", "replay", day / "day", "--out", out, "--shards=3", f"--runner={engine}"]
    found = subprocess.run(
        [*command, *([f"--master={run.master}"] if run.master else [])], capture_output=True, text=True
    )
    assert not found.returncode, found.stdout[-3000:] + found.stderr[-3000:]
    expected, written = contents(day / "direct"), contents(out)
    assert expected["audit.v1.jsonl"]
    assert written.keys() == expected.keys()
    for name, lines in expected.items():
        assert written[name] == lines, name


@pytest.mark.parametrize("scenario", SCENARIOS)
@pytest.mark.parametrize("engine", ["prism", "flink", "spark"])
def test_an_engine_on_this_machine_gives_what_direct_gives(days: dict[str, Path], scenario: str, engine: str) -> None:
    same(days[scenario], engine, Run())


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_flink_cluster_gives_what_direct_gives(
    days: dict[str, Path], scenario: str, flink_cluster: FlinkCluster
) -> None:
    same(days[scenario], "flink", Run(master=flink_cluster.address))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_spark_cluster_gives_what_direct_gives(
    days: dict[str, Path], scenario: str, spark_cluster: SparkCluster
) -> None:
    same(days[scenario], "spark", Run(master=spark_cluster.address))


def packaged(day: Path, engine: str) -> tuple[Path, Path]:
    """A jar that replays the day, and where its outputs go."""
    options_of(engine, Run())
    jar, out = day / f"{engine}.jar", day / f"{engine}-jar"
    command = [sys.executable, "-m", "ops.cli", "package", f"--runner={engine}", "--out", jar]
    done(*command, "--day", day / "day", "--to", out)
    return jar, out


def done(*command: str | Path) -> None:
    found = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    assert not found.returncode, found.stdout[-3000:] + found.stderr[-3000:]


def test_a_jar_for_flink_gives_what_direct_gives(days: dict[str, Path], flink_cluster: FlinkCluster) -> None:
    jar, out = packaged(days["crash"], "flink")
    done(flink.distribution() / "bin" / "flink", "run", "-m", flink_cluster.address, jar)
    assert contents(out) == contents(days["crash"] / "direct")


def test_a_jar_for_spark_gives_what_direct_gives(days: dict[str, Path], spark_cluster: SparkCluster) -> None:
    jar, out = packaged(days["crash"], "spark")
    submit = spark.distribution() / "bin" / "spark-submit"
    main = ("--class", "org.apache.beam.runners.spark.SparkPipelineRunner")
    done(submit, "--master", spark_cluster.address, *main, jar)
    assert contents(out) == contents(days["crash"] / "direct")

"""Spark 3: replaying history in batch, in its job server, on a standalone cluster, or as a jar for spark-submit."""

from __future__ import annotations

from runners.engine import Capability, Engine, Run
from runners.harness.command import environment_flags
from runners.java import assembled
from runners.port import free_port


def _flags(run: Run) -> list[str]:
    flags = [
        "--runner=SparkRunner",
        f"--spark_job_server_jar={run.job_server or assembled('spark-job-server')}",
        f"--job_port={free_port()}",
        f"--spark_master_url={run.master or f'local[{run.parallelism}]'}",
        *environment_flags(),
    ]
    if run.package is not None:
        flags.append(f"--output_executable_path={run.package}")
    return flags


ENGINE = Engine(
    "spark",
    "replaying history, many days at once",
    has={
        Capability.REPLAY: "batch, with the workers in processes of their own",
        Capability.CLUSTER: "a standalone cluster, by spark://HOST:PORT",
        Capability.PACKAGE: "an executable jar for spark-submit, the form that EMR Serverless takes",
    },
    lacks={
        Capability.LIVE: "Beam's portable Spark runner has no streaming; flink runs live",
        Capability.RECOVERY: "a batch is run again; flink saves the state of a live run",
    },
    flags=_flags,
)

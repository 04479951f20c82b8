"""Flink: live against Kafka, embedded in its job server or on a session cluster, and as an executable jar."""

from __future__ import annotations

from runners.engine import Capability, Engine, Run
from runners.harness.command import environment_flags
from runners.java import assembled
from runners.port import free_port


def _flags(run: Run) -> list[str]:
    flags = [
        "--runner=FlinkRunner",
        "--flink_version=1.19",
        f"--flink_job_server_jar={run.job_server or assembled('flink-job-server')}",
        f"--job_port={free_port()}",
        # A packaged jar takes the cluster that it is given to; [local] would run it inside the client.
        f"--flink_master={run.master or ('[auto]' if run.package else '[local]')}",
        f"--parallelism={run.parallelism}",
        *environment_flags(),
    ]
    if run.package is not None:
        flags += [f"--output_executable_path={run.package}", "--flink_submit_uber_jar"]
    if run.live:
        # One process reads and parses while the other folds: catching up, both cores work (docs/performance.md).
        flags.append("--sdk_worker_parallelism=2")
        # Not data_buffer_time_limit_ms: it corrupts streams under load (runtime.md, trap 19).
        flags += ["--streaming", "--max_bundle_size=500", "--max_bundle_time_mills=20"]
        # Flink's own 200 ms would be waited for at every instant.
        flags.append("--auto_watermark_interval=20")
    if run.checkpoint_ms is not None:
        flags.append(f"--checkpointing_interval={run.checkpoint_ms}")
        # A job that is cancelled or loses its job manager goes on from the last one.
        flags += ["--externalized_checkpoints_enabled", "--retain_externalized_checkpoints_on_cancellation"]
    if run.resume is not None:
        flags.append(f"--savepoint_path={run.resume.absolute().as_uri()}")
    if run.name is not None:
        flags.append(f"--job_name={run.name}")
    return flags


ENGINE = Engine(
    "flink",
    "production: live against Kafka, recovering by itself",
    has={
        Capability.REPLAY: "bounded, with the workers in processes of their own",
        Capability.LIVE: "over KafkaIO, in the log-append or the arrival clock",
        Capability.RECOVERY: "checkpoints, savepoints, and the restart strategy of the cluster",
        Capability.CLUSTER: "a session cluster, by the address of its REST endpoint",
        Capability.PACKAGE: "an executable jar for `flink run`",
    },
    lacks={},
    flags=_flags,
    broadcasts=False,
)

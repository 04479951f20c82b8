"""Every engine by name."""

from __future__ import annotations

from runners import dataflow, direct, emr, flink, prism, spark
from runners.engine import Engine

ENGINES: dict[str, Engine] = {
    module.ENGINE.name: module.ENGINE for module in (direct, prism, flink, spark, emr, dataflow)
}

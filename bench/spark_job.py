"""The same arithmetic in Spark Structured Streaming: python -m bench.spark_job DAY [PARTS].

A file source reads the day in PARTS parts, one micro-batch each; foreachBatch keeps the book as a cached DataFrame of
positions and values every account that the batch touched, as the graph does. CPU seconds are those of the driver and
of its JVM. The environment, build/spark-venv, is made on first use.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path

HERE = Path(__file__).resolve()
HOME = HERE.parents[1] / "build" / "spark-venv"
SPY = (-0.08, -0.06, -0.04, -0.02, 0.0, 0.02, 0.04, 0.06)
TIMS = (-0.15, -0.10, -0.05, 0.0, 0.05, 0.10, 0.15)
SCHEMA = (
    "arrived_at string, symbol string, account_id string, quantity double, price double, beta double, amount double"
)


def ensure() -> Path:
    """The interpreter of an environment that has pyspark 3.5.3."""
    python = HOME / "bin" / "python"
    if not (HOME / "bin" / "spark-submit").exists():
        venv.create(HOME, with_pip=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "pyspark==3.5.3"], check=True)
    return python


def split(day: Path, parts: int) -> tuple[Path, int]:
    """The day's events in time order as PARTS files beside it; the folder and the number of events."""
    lines = [line for path in sorted(day.glob("*.v1.jsonl")) for line in path.read_bytes().splitlines()]
    lines.sort(key=lambda line: json.loads(line)["arrived_at"].replace("Z", ".000000Z")[:26])
    folder = day.with_name(f"{day.name}-parts{parts}")
    folder.mkdir(exist_ok=True)
    for n in range(parts):
        path = folder / f"part-{n:04d}.json"
        path.write_bytes(b"\n".join(lines[n * len(lines) // parts : (n + 1) * len(lines) // parts]) + b"\n")
        # The file source takes the oldest file first.
        stamp = 1_700_000_000 + n
        os.utime(path, (stamp, stamp))
    return folder, len(lines)


def used(pid: int) -> tuple[float, int]:
    """CPU seconds and peak MB of a process that still runs; a gateway's JVM ends too late for RUSAGE_CHILDREN."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    peak = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK"), int(peak.split()[1]) // 1024


def run(folder: Path) -> dict[str, float]:
    """Stream the parts through foreachBatch; rows, CPU seconds of the JVM, those of its start, peak MB."""
    from pyspark.sql import DataFrame, SparkSession
    from pyspark.sql import functions as F  # noqa: N812

    spark = (
        SparkSession.builder.master("local[2]")
        .config("spark.ui.enabled", "false")
        .config("spark.sql.shuffle.partitions", "2")
        .config("spark.driver.memory", "1g")
        .getOrCreate()
    )
    spark.sparkContext.setLogLevel("ERROR")
    pid = spark.sparkContext._gateway.proc.pid
    started, _ = used(pid)
    spark.sparkContext.setCheckpointDir(str(folder / "checkpoints"))
    state: dict[str, DataFrame] = {}
    rows = 0

    def keep(name: str, frame: DataFrame) -> DataFrame:
        """Replace a table of the state: cut its lineage, or plans would grow with every batch."""
        new = frame.localCheckpoint(eager=True)
        if name in state:
            state[name].unpersist()
        state[name] = new
        return new

    def newest(old: DataFrame | None, events: DataFrame, column: str) -> DataFrame:
        events = events.select("symbol", "arrived_at", column)
        both = events if old is None else old.unionByName(events)
        return both.groupBy("symbol").agg(
            F.max_by(column, "arrived_at").alias(column), F.max("arrived_at").alias("arrived_at")
        )

    def batch(events: DataFrame, number: int) -> None:
        nonlocal rows
        events = events.persist()
        fills = events.where("account_id is not null and amount is null")
        ticks = events.where("account_id is null and beta is null")
        flows = events.where("account_id is not null").selectExpr(
            "account_id", "round(coalesce(amount, -quantity * price), 4) cash"
        )
        moves = fills.select("account_id", "symbol", "quantity")
        old = state.get("positions")
        positions = keep(
            "positions",
            (moves if old is None else old.unionByName(moves))
            .groupBy("account_id", "symbol")
            .agg(F.sum("quantity").alias("quantity")),
        )
        old = state.get("cash")
        cash = keep(
            "cash",
            (flows if old is None else old.unionByName(flows)).groupBy("account_id").agg(F.sum("cash").alias("cash")),
        )
        prices = keep("prices", newest(state.get("prices"), ticks, "price"))
        betas = keep("betas", newest(state.get("betas"), events.where("beta is not null"), "beta"))
        touched = positions.join(ticks.select("symbol").distinct(), "symbol").select("account_id")
        touched = touched.union(fills.select("account_id")).distinct()
        result = measure(positions, prices, betas, cash, touched)
        rows += consume(result)
        events.unpersist()

    def measure(*tables: DataFrame) -> DataFrame:
        positions, prices, betas, cash, touched = tables
        held = (
            positions.join(touched, "account_id")
            .join(prices.select("symbol", "price"), "symbol", "left")
            .join(betas.select("symbol", "beta"), "symbol", "left")
            .selectExpr("account_id", "round(quantity * coalesce(price, 0), 4) v", "coalesce(beta, 1) b")
            .selectExpr("*", "sum(abs(v)) over (partition by account_id) gross")
        )
        stress = [f"round(v * greatest({m} * b, -1), 4) s{n}" for n, m in enumerate(SPY)]
        grid = [f"sum(round(v * {m}, 4)) t{n}" for n, m in enumerate(TIMS)]
        rule = "sum(round(abs({0}) * 0.25, 4) + if(abs({0}) > gross * 0.3, round(abs({0}) * 0.1, 4), 0))"
        sums = [f"sum(s{n}) s{n}" for n in range(len(SPY))]
        again = [f"{rule.format(f'(v + s{n})')} r{n}" for n in range(len(SPY))]
        head = ["sum(v) net", "first(gross) gross", f"{rule.format('v')} requirement", "sum(round(v * b, 4)) exposure"]
        figures = held.selectExpr("*", *stress).groupBy("account_id").agg(*map(F.expr, head + sums + again + grid))
        return figures.join(cash, "account_id").selectExpr("*", "net + cash equity", "net + cash - requirement excess")

    def consume(result: DataFrame) -> int:
        """Compute every column of every row, as writing would; a bare count would prune them."""
        return int(result.selectExpr("xxhash64(*) h").agg(F.count("h"), F.max("h")).first()[0])

    stream = spark.readStream.schema(SCHEMA).option("maxFilesPerTrigger", 1).json(str(folder / "*.json"))
    query = stream.writeStream.foreachBatch(batch).trigger(availableNow=True).start()
    query.awaitTermination()
    jvm, peak = used(pid)
    spark.stop()
    return {"rows": rows, "jvm_s": jvm, "start_s": started, "peak_mb": peak}


def main() -> None:
    """Run inside Spark's environment, or start it there."""
    day, parts = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20
    if Path(sys.prefix) != HOME:
        raise SystemExit(subprocess.run([ensure(), HERE, day, str(parts)]).returncode)
    folder, events = split(day, parts)
    start = time.process_time()
    found = run(folder)
    cpu = time.process_time() - start + found["jvm_s"]
    print(json.dumps({"cpu_s": round(cpu, 3), "events": events, "parts": parts, **found}))


if __name__ == "__main__":
    main()

"""A day at an address is a day on disk: the same bytes come out."""

from __future__ import annotations

from pathlib import Path

import boto3
import pytest
from moto import mock_aws

from ops.generate import write_day
from pipeline.day import DayError
from pipeline.replay import replay
from runners.direct import ENGINE
from runners.engine import Run


def test_a_day_on_s3_replays_to_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "moto")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    day = tmp_path / "day"
    write_day(day, scenario="crash", accounts=30, symbols=8, seed=7, interval_ms=300_000)
    replay(day, tmp_path / "out", ENGINE.options(Run()), shards=2)
    with mock_aws():
        s3 = boto3.client("s3")
        s3.create_bucket(Bucket="margin")
        for file in day.iterdir():
            s3.upload_file(str(file), "margin", f"days/1/{file.name}")
        replay("s3://margin/days/1", "s3://margin/out/1", ENGINE.options(Run()), shards=2)
        listed = s3.list_objects_v2(Bucket="margin", Prefix="out/1/")["Contents"]
        found = {
            o["Key"].rpartition("/")[2]: s3.get_object(Bucket="margin", Key=o["Key"])["Body"].read() for o in listed
        }
        with pytest.raises(DayError, match=r"s3://margin/days/2/manifest.json: Not found"):
            replay("s3://margin/days/2", "s3://margin/out/2", ENGINE.options(Run()))
    # Beam writes no empty object to S3.
    assert found == {f.name: f.read_bytes() for f in (tmp_path / "out").iterdir() if f.stat().st_size}

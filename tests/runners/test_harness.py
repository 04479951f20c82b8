"""The boot of a Python worker, beyond what every test on an engine shows of it."""

from __future__ import annotations

import pytest
from apache_beam.runners.worker.statesampler import StateSampler
from apache_beam.utils.counters import CounterFactory

from runners.harness.boot import SAMPLING_MS, sample_often


def test_a_bundle_does_not_wait_for_the_sampler_to_wake_up(monkeypatch: pytest.MonkeyPatch) -> None:
    def period() -> int:
        return StateSampler("stage", CounterFactory()).sampling_period_ms

    # What it is without us; Beam may have an option for it by the time that this fails.
    monkeypatch.setattr(StateSampler.__init__, "__defaults__", StateSampler.__init__.__defaults__)
    assert period() == 200
    sample_often()
    assert period() == SAMPLING_MS

"""What holds for every test."""

from __future__ import annotations

from hypothesis import settings

# No test asserts a wall-clock time, Hypothesis' own deadline for an example included.
settings.register_profile("margin", settings(), deadline=None)
settings.load_profile("margin")

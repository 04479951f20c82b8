"""A rulebook: every number that a rule or a policy sets, as loaded from conf/rules with its citation."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rulebook:
    """One version of the rules. Rates and shares are fractions, moves are fractions of price, times are seconds."""

    name: str
    version: str
    effective_at: int
    long_rate: float
    short_rate: float
    concentration_threshold: float
    concentration_rate: float
    default_beta: float
    spy_moves: tuple[float, ...]
    tims_moves: tuple[float, ...]
    severe_move: float
    stale_after: int
    max_stale_share: float
    warning_entry: float
    warning_release: float
    call_release: float
    restriction_release: float
    persist: int
    call_due_sessions: int
    publish_move: float
    heartbeat: int

    def __post_init__(self) -> None:
        if self.severe_move not in self.spy_moves:
            raise ValueError(f"severe_move: expected one of spy_moves {self.spy_moves}, found {self.severe_move}")
        if not 0 <= self.warning_entry <= self.warning_release:
            raise ValueError("warning_release: expected at or above warning_entry, or an account would flap")
        if not 0 <= self.call_release <= self.warning_release:
            raise ValueError("call_release: expected between 0 and warning_release")
        if self.long_rate <= 0 or self.short_rate <= 0:
            raise ValueError("long_rate, short_rate: expected above 0")

    @property
    def label(self) -> str:
        """name@version, as published with every figure."""
        return f"{self.name}@{self.version}"


def rulebook_at(books: tuple[Rulebook, ...], instant: int) -> Rulebook:
    """The newest version with effective_at <= instant (microseconds); the oldest one before any is effective."""
    current = books[0]
    for book in books:
        if book.effective_at <= instant:
            current = book
    return current

"""The records that go out. Each has an event_id that is a pure function of its content (schemas.ids)."""

from __future__ import annotations

from typing import Literal

import msgspec

from schemas.inputs import CallType, IntradayChange, LiquidationOrder, Means, PricedPosition, Rate, Regime
from schemas.scalars import Money, Ratio, Time

Basis = Literal["CLOSE", "REALTIME"]
Level = Literal["NONE", "WARNING", "MARGIN_CALL", "RESTRICTION", "LIQUIDATION"]


class Event(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every output carries; as_of is the evaluation instant, rulebook the name@hash that was in force."""

    event_id: str = ""
    account_id: str
    as_of: Time
    rulebook: str


class MarginCalc(Event, frozen=True, kw_only=True):
    """Margin figures of one account. Shares are of gross market value; cushion is null at a zero requirement."""

    published_for: Literal["LEVEL", "MOVE", "HEARTBEAT", "ALL", "CLOSE"]
    cash: Money
    long_market_value: Money
    short_market_value: Money
    equity: Money
    maintenance_requirement: Money
    concentration_addon: Money
    requirement: Money
    excess: Money
    cushion: Ratio | None
    stale_share: Ratio
    defaulted_share: Ratio
    excluded: int


class StressScenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One SPY move: the P&L, the equity after it, and the excess with the requirement held and recomputed."""

    move: Ratio
    pnl: Money
    equity: Money
    excess_fixed: Money
    requirement_restressed: Money
    excess_restressed: Money


class StressBetaSpy(Event, frozen=True, kw_only=True):
    """The beta-weighted SPY ladder of one account."""

    beta_weighted_exposure: Money
    defaulted_share: Ratio
    scenarios: tuple[StressScenario, ...]


class MarginIntraday(Event, frozen=True, kw_only=True):
    """The intraday margin of one account (FINRA 4210(d)(2)), said anew after each of its transactions.

    iml: the level now, at current prices. deficit: of the day so far. minor: whether it builds no practice of failing.
    """

    opening_iml: Money
    iml: Money
    deficit: Money
    minor: bool
    changes: tuple[IntradayChange, ...]


class TimsPoint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One valuation point of the portfolio-margin grid."""

    move: Ratio
    pnl: Money


class StressTims(Event, frozen=True, kw_only=True):
    """The portfolio-margin grid of one account: requirement = |worst loss|."""

    points: tuple[TimsPoint, ...]
    worst_move: Ratio
    worst_loss: Money
    requirement: Money
    excess: Money


class AccountState(Event, frozen=True, kw_only=True):
    """Where an account stands: its level, the clocks that run, what it holds, and by what terms it is margined.

    With instruments.v1 and prices.v1 it is enough to value the account anew. The terms are null in states of before
    they were told, and a house rate where the house asks for none.
    """

    level: Level
    since: Time | None
    deficient_since: Time | None
    equity: Money
    requirement: Money
    excess: Money
    open_events: tuple[str, ...]
    positions: tuple[PricedPosition, ...]
    cash: Money | None = None
    margin_type: Regime | None = None
    house_long_rate: Rate | None = None
    house_short_rate: Rate | None = None


class Alert(Event, frozen=True, kw_only=True):
    """Something a person should see: a change of level, a review, a provisional account, an unpriced short.

    distance, distance_move: of a warning, the dollars of excess that are left, and the SPY move that takes them.
    """

    kind: Literal["LEVEL", "REVIEW", "PROVISIONAL_ACCOUNT", "UNPRICED_SHORT", "LATE_RECORD", "OVERRIDE_REFUSED"]
    level: Level
    previous_level: Level
    message: str
    equity: Money
    requirement: Money
    cushion: Ratio | None
    distance: Money | None = None
    distance_move: Ratio | None = None


class Consequence(Event, frozen=True, kw_only=True):
    """An enforcement action of one cause; supersedes names the event that this one closes or cancels."""

    cause_id: str
    rule: str
    equity: Money
    requirement: Money
    supersedes: str | None = None


class MarginCall(Consequence, frozen=True, kw_only=True):
    """A step in the life of a margin call (risk.calls); cause_id is the call's own, the same in all its steps.

    amount: what is still due after the step. called = covered + cancelled + amount. by: what covered this step.
    extended_by: the operator who moved when it is due.
    """

    status: Literal["OPENED", "INCREASED", "COVERED", "MET", "EXTENDED", "EXPIRED", "REDUCED", "CANCELLED", "WAIVED"]
    type: CallType = "HOUSE"
    basis: Basis = "REALTIME"
    amount: Money
    called: Money = Money(0)
    covered: Money = Money(0)
    cancelled: Money = Money(0)
    by: Means | None = None
    occurred_at: Time | None = None
    due_at: Time | None = None
    extended_by: str | None = None


class Restriction(Consequence, frozen=True, kw_only=True):
    """Close-only, imposed or lifted; stressed_equity is equity after the rulebook's severe move."""

    status: Literal["IMPOSED", "LIFTED", "CANCELLED"]
    stressed_equity: Money


class Liquidation(Consequence, frozen=True, kw_only=True):
    """A liquidation that a persisting deficiency or an expired call makes due, what is proposed and done, and its end.

    cause_id: of DUE and its end the cause; of the steps of a proposal its own, the same in all of them. orders: of a
    proposal. unsecured_debit: what equity would be below zero if all were sold. reason: why a proposal does not cure.
    by: who approved or rejected.
    """

    status: Literal[
        "DUE",
        "CLEARED",
        "CANCELLED",
        "PROPOSED",
        "APPROVED",
        "REJECTED",
        "FILLED",
        "EXECUTED",
        "WITHDRAWN",
        "IMPOSSIBLE",
    ]
    deficiency: Money
    deficient_since: Time | None
    market_value_to_close: Money
    orders: tuple[LiquidationOrder, ...] = ()
    unsecured_debit: Money = Money(0)
    reason: str = ""
    by: str | None = None


class FirmGroup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The accounts of one margin type at one level, in sums over them.

    maintenance_requirement: without what the house adds. deficient: accounts that lack something. falling, shortfall:
    accounts that lack nothing and would after the severe move, and how much; deepening: how much more the others would.
    """

    margin_type: Regime
    level: Level
    accounts: int
    equity: Money
    requirement: Money
    maintenance_requirement: Money
    excess: Money
    deficient: int
    deficiency: Money
    falling: int
    shortfall: Money
    deepening: Money


class FirmCalls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The open calls of a type: how many, of how many accounts, and what is due."""

    type: CallType
    calls: int
    accounts: int
    due: Money


class FirmHolding(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A symbol that called accounts hold: how many of them, and for how much, long and short alike."""

    symbol: str
    accounts: int
    gross: Money


class FirmTotals(Event, frozen=True, kw_only=True):
    """The firm: what was last told of each of its accounts, summed. Its account_id is FIRM.

    severe_move: of SPY, what falling, shortfall and deepening are of. called_accounts: that have any call. crowded: the
    symbols that most of them hold, of `held`.
    """

    severe_move: Ratio
    groups: tuple[FirmGroup, ...]
    calls: tuple[FirmCalls, ...]
    called_accounts: int
    held: int
    crowded: tuple[FirmHolding, ...]


class AuditPosition(PricedPosition, frozen=True, kw_only=True):
    """A position with all that valued it: quantity x multiplier x price is what it is worth.

    as_of, source, sequence: of the quote that says the price, which under a halt is the one before it. Without a quote
    there is no as_of, and the source is CLOSE for the close of the account's snapshot, or FILL for its own last fill.
    volatility: that the quote told. beta: that was used; defaulted: it was not known, or old. underlying_price: of what
    an option or a convertible derives from; an option without one is left out of the figures.
    """

    as_of: Time | None = None
    source: str = ""
    sequence: int = 0
    volatility: float | None = None
    beta: float | None = None
    defaulted: bool = False
    multiplier: float = 1.0
    underlying: str | None = None
    underlying_price: float | None = None


class StateBefore(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an account stood before a link of its chain, as the link before it or the instant found it.

    levels: those that were active, and REVIEW. open_events: as in AccountState. overdue: a call had expired.
    restricted_until, exempt_until: by a practice or an operator. What its figures were is not told: margin.calc.v1 has
    what was published, which depends on the publish policy, and a decision must not.
    """

    levels: tuple[str, ...] = ()
    deficient_since: Time | None = None
    open_events: tuple[str, ...] = ()
    overdue: bool = False
    restricted_until: Time | None = None
    exempt_until: Time | None = None


class Audit(Event, frozen=True, kw_only=True):
    """One link of an account's chain: what was decided, on which inputs; previous is the hash of the link before.

    Fields:
      causation_id: what it follows from: a record that came in, by topic and its own id (fills.v1/F-17), a time that
        came (deadline/DEFICIENCY/2026-01-05T15:40:00Z), or the event of the firm's own that asked for it. Of a decision
        with none of them the newest price that it rests on (prices.v1/XYZ).
      correlation_id: the episode: the same from the instant at which the account leaves level NONE, or has its first
        call, until it is back with nothing open. Of what is in none, its causation.
      supersedes: of a correction, the consequences that it cancels.
      inputs: the figures that were compared, and what the kind says beside. `causes`: the events that it led to.
      thresholds: of a decision, the lines that its figures were compared with, by their names in the rulebook. All else
        that a rulebook sets is the same for all that was decided by it: its text is kept by the hash in `rulebook`.
      previous_state: null in links of before it was told.
    """

    kind: Literal["DECISION", "CORRECTION", "LATE", "OVERRIDE", "CALL", "LIQUIDATION"]
    causation_id: str | None
    correlation_id: str | None = None
    supersedes: tuple[str, ...] = ()
    inputs: dict[str, str]
    thresholds: dict[str, str] = {}
    previous_state: StateBefore | None = None
    positions: tuple[AuditPosition, ...]
    previous: str


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A record that could not be used: where it came from, its bytes (base64 in JSON), and what to fix."""

    topic: str
    partition: int
    offset: int
    payload: bytes
    reason: str

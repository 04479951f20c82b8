"""The records that come in. Prices are doubles as quoted; every amount derived from them is rounded (risk.amounts)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import msgspec

from schemas.scalars import Money, Quantity, Time

Id = Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
#: Dollars of a unit, a hundred times the dearest listed share (BRK.A, below $1 million in 2026): a slip is refused
#: here, not seen in an account's figures.
_DEAREST = 1e8
Dollars = Annotated[float, msgspec.Meta(gt=0, le=_DEAREST)]
Factor = Annotated[float, msgspec.Meta(ge=-1e3, le=1e3)]
#: What Avro and MessagePack hold.
_LARGEST = 2**63 - 1
Whole = Annotated[int, msgspec.Meta(ge=-_LARGEST - 1, le=_LARGEST)]
Rate = Annotated[float, msgspec.Meta(ge=0, le=10)]
Type = Literal[
    "STOCK",
    "ETF",
    "ETN",
    "INDEX",
    "OPTION",
    "CONVERTIBLE",
    "WARRANT",
    "SECURITY_FUTURE",
    "MONEY_MARKET",
    "EXEMPT_FUND",
]
Regime = Literal["STRATEGY", "PORTFOLIO", "GOOD_FAITH"]
CallType = Literal["REG_T", "MAINTENANCE", "HOUSE", "CONCENTRATION", "MINIMUM_EQUITY", "PORTFOLIO_MARGIN", "INTRADAY"]
Means = Literal["DEPOSIT", "TRADE", "APPRECIATION"]
Method = Literal["ordinary", "blume", "vasicek"]
Class = Literal["equity", "narrow_index", "broad_index", "high_cap_broad_index"]


class Input(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, gc=False):
    """What every input carries: when the firm received it. Live, the log-append time replaces the payload's value."""

    arrived_at: Time | None = None


class Fill(Input, frozen=True, kw_only=True):
    """An execution, or its correction or bust. Per original fill the highest version holds, whatever the order."""

    fill_id: Id
    account_id: Id
    symbol: Id
    quantity: Quantity
    price: Annotated[float, msgspec.Meta(ge=0, le=_DEAREST)]
    fees: Money = Money(0)
    executed_at: Time | None = None
    kind: Literal["NEW", "CORRECT", "BUST"] = "NEW"
    ref_fill_id: Id | None = None
    version: Annotated[int, msgspec.Meta(ge=1, le=_LARGEST)] = 1


class Cash(Input, frozen=True, kw_only=True):
    """A cash movement; the amount is signed, positive into the account."""

    cash_id: Id
    account_id: Id
    amount: Money
    kind: Literal["DEPOSIT", "WITHDRAWAL", "JOURNAL", "DIVIDEND", "INTEREST", "FEE", "REVERSAL"]
    cleared: bool = True


class Price(Input, frozen=True, kw_only=True):
    """A quote; the newest by (as_of, sequence, source, content) holds, never the last to arrive."""

    symbol: Id
    price: Dollars
    as_of: Time
    source: str = ""
    status: Literal["LIVE", "INDICATIVE", "HALTED", "CLOSE"] = "LIVE"
    implied_volatility: Positive | None = None
    sequence: Whole = 0


class Beta(Input, frozen=True, kw_only=True):
    """A symbol's beta to SPY: window (days), observations and method it was estimated by, and its standard error."""

    symbol: Id
    beta: Factor
    effective_at: Time
    window: Whole | None = None
    observations: Whole | None = None
    standard_error: Annotated[float, msgspec.Meta(ge=0)] | None = None
    method: Method = "ordinary"


class Instrument(Input, frozen=True, kw_only=True):
    """What a symbol is. Strike in dollars, multiplier in units of the underlying, leverage as a factor.

    instrument_class, leverage and dividend_yield are of what underlies an option; conversion_ratio is units of the
    underlying that one unit is exchanged for.
    """

    symbol: Id
    type: Type = "STOCK"
    underlying: Id | None = None
    strike: Dollars | None = None
    expiry: Time | None = None
    right: Literal["CALL", "PUT"] | None = None
    multiplier: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 1.0
    exercise: Literal["AMERICAN", "EUROPEAN"] | None = None
    class_group: Id | None = None
    product_group: Id | None = None
    leverage: Factor = 1.0
    margin_eligible: bool = True
    average_daily_volume: Positive | None = None
    sector: str | None = None
    instrument_class: Class = "equity"
    shares_outstanding: Positive | None = None
    dividend_yield: Rate | None = None
    conversion_ratio: Positive | None = None


class Account(Input, frozen=True, kw_only=True):
    """An account's terms: regime, house rates, symbols to liquidate last."""

    account_id: Id
    margin_type: Regime = "STRATEGY"
    house_long_rate: Rate | None = None
    house_short_rate: Rate | None = None
    liquidate_last: tuple[Id, ...] = ()


class SnapshotPosition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position of a snapshot, its cost, and the close it was valued at; none where a fill alone says its price."""

    symbol: Id
    quantity: Quantity
    close: Dollars | None = None
    cost: Money | None = None


class SnapshotFill(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A fill already inside a snapshot: enough to recognise its duplicate and to undo it when it is corrected.

    fill_id is the original's; the rest is of its highest version. own_id: that version's, where it is another than the
    original. arrived_at: when it was applied. multiplier: the units of the underlying in one, then.
    """

    fill_id: Id
    version: Whole
    kind: Literal["NEW", "CORRECT", "BUST"]
    own_id: Id | None
    symbol: Id
    quantity: Quantity
    price: float
    fees: Money
    executed_at: Time | None
    arrived_at: Time
    multiplier: float = 1.0


class PricedPosition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position at the price it was valued at, with that price's state (risk.market)."""

    symbol: Id
    quantity: Quantity
    price: float
    state: str


class OpenedPosition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A position of an opening with all that valued it; a price of zero says there was none, no beta that it was
    defaulted."""

    symbol: Id
    quantity: Quantity
    price: float
    beta: float | None
    multiplier: float = 1.0
    volatility: float | None = None


class OpenedOn(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an open consequence, or the clock of a deficiency, rests on: the book of its opening instant.

    event_id: of the consequence that was opened; empty for a clock. spots: dollars of what underlies the positions and
    is not among them.
    """

    event_id: str
    opened_at: Time
    cash: Money
    positions: tuple[OpenedPosition, ...]
    spots: dict[str, float] = {}


class IntradayChange(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a transaction changed the intraday margin level by, at the prices in force when it was booked.

    id: of the original fill, or of the cash movement; kind: which, as each has ids of its own. executed_at: none where
    nobody said.
    """

    id: Id
    executed_at: Time | None
    change: Money
    kind: Literal["FILL", "CASH"] = "FILL"


class IntradayPath(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The transactions of a day of an account, and its intraday margin level before the first of them."""

    day: Whole
    opening: Money
    changes: tuple[IntradayChange, ...]


Record = TypeVar("Record", bound=msgspec.Struct)


def changed(record: Record, **fields: Any) -> Record:
    """A record with other values in some fields."""
    return msgspec.structs.replace(record, **fields)


class OpenCall(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that is not at its end (risk.calls). initial + increased = covered + cancelled + what is due.

    call_id: of its first event, that all of them carry. event_id: of the last one. level: intraday margin level when it
    was opened, of an intraday call. rests_on: the book of its opening instant. extended_by: who moved when it is due.
    """

    call_id: Id
    event_id: str
    type: CallType
    state: Literal["OPEN", "EXTENDED", "EXPIRED"] = "OPEN"
    opened_at: Time
    due_at: Time
    initial: Money
    increased: Money = Money(0)
    covered: dict[Means, Money] = {}
    cancelled: Money = Money(0)
    level: Money = Money(0)
    rests_on: OpenedOn | None = None
    extended_by: str | None = None


class LiquidationOrder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An order of a liquidation, in units or contracts, signed: the price it was sized at, the worst it may fill at,
    why, and how much of it is filled."""

    symbol: Id
    quantity: Quantity
    price: float
    limit: float
    why: str
    filled: Quantity = Quantity(0)


class OpenProposal(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A liquidation that is proposed or under way (risk.proposals); proposal_id is that of all its events."""

    proposal_id: Id
    state: Literal["PROPOSED", "APPROVED"] = "PROPOSED"
    proposed_at: Time
    orders: tuple[LiquidationOrder, ...]
    approved_by: str | None = None


class Practice(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A call that was met by liquidation, or a deficit that was not met by its due time: what a practice is made of."""

    at: Time
    type: CallType
    how: Literal["LIQUIDATED", "UNMET"]


class Standing(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where an account stands beside the ladder: its calls, what builds a practice, and until when it is restricted, or
    exempt from restriction and liquidation.

    sma: the special memorandum account at the last close. cash: paid in since then, less what covered a Regulation T
    call; spent: what sales since then covered of one. propose_at: no liquidation is proposed before.
    """

    calls: tuple[OpenCall, ...] = ()
    practice: tuple[Practice, ...] = ()
    restricted_until: Time | None = None
    exempt_until: Time | None = None
    sma: Money = Money(0)
    cash: Money = Money(0)
    spent: Money = Money(0)
    proposal: OpenProposal | None = None
    propose_at: Time | None = None


class Snapshot(Input, frozen=True, kw_only=True):
    """An account's whole state at its instant, in place of what was there; records before the cut are then ignored.

    sma: of an account without a standing, which has its own. episode: when the one that it is in began (Audit).
    """

    account_id: Id
    as_of: Time
    positions: tuple[SnapshotPosition, ...] = ()
    cash: Money = Money(0)
    sma: Money = Money(0)
    fills: tuple[SnapshotFill, ...] = ()
    cash_ids: tuple[str, ...] = ()
    levels: tuple[str, ...] = ()
    since: Time | None = None
    deficient_since: Time | None = None
    opened: dict[str, OpenedOn] = {}
    audit_head: str = ""
    cut: Time | None = None
    margin_type: Regime = "STRATEGY"
    house_long_rate: Rate | None = None
    house_short_rate: Rate | None = None
    intraday: IntradayPath | None = None
    standing: Standing | None = None
    liquidate_last: tuple[Id, ...] = ()
    episode: Time | None = None


class Override(Input, frozen=True, kw_only=True):
    """An operator's decision on an account: who, who else, why, until when. target: the call_id that it is of."""

    override_id: Id
    account_id: Id
    operator: Id
    approver: Id | None = None
    reason: str
    action: Literal["EXTEND", "WAIVE", "EXEMPT", "RESTRICT", "RELEASE", "APPROVE", "REJECT"]
    target: str | None = None
    expires_at: Time | None = None

"""One table of topics: what travels where, how it is keyed, and in which order inputs of one instant apply."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from schemas import inputs, outputs


@dataclass(frozen=True, slots=True)
class Topic:
    """A topic. rank orders inputs that arrived at the same microsecond; key names the partitioning field, id the one
    that tells the records of a key apart, where they have one."""

    name: str
    record: type[msgspec.Struct]
    key: str
    rank: int | None = None
    id: str | None = None

    @property
    def market(self) -> bool:
        """Whether every shard sees it."""
        return self.key == "symbol"


SNAPSHOTS = Topic("snapshots.v1", inputs.Snapshot, "account_id", 0)
ACCOUNTS = Topic("accounts.v1", inputs.Account, "account_id", 1)
INSTRUMENTS = Topic("instruments.v1", inputs.Instrument, "symbol", 2)
BETAS = Topic("betas.v1", inputs.Beta, "symbol", 3)
PRICES = Topic("prices.v1", inputs.Price, "symbol", 4)
FILLS = Topic("fills.v1", inputs.Fill, "account_id", 5, "fill_id")
CASH = Topic("cash.v1", inputs.Cash, "account_id", 6, "cash_id")
OVERRIDES = Topic("overrides.v1", inputs.Override, "account_id", 7, "override_id")

MARGIN_CALC = Topic("margin.calc.v1", outputs.MarginCalc, "account_id")
STRESS_BETA_SPY = Topic("stress.beta_spy.v1", outputs.StressBetaSpy, "account_id")
STRESS_TIMS = Topic("stress.tims.v1", outputs.StressTims, "account_id")
MARGIN_INTRADAY = Topic("margin.intraday.v1", outputs.MarginIntraday, "account_id")
ACCOUNTS_STATE = Topic("accounts.state.v1", outputs.AccountState, "account_id")
ALERTS = Topic("alerts.v1", outputs.Alert, "account_id")
MARGIN_CALLS = Topic("margin.calls.v1", outputs.MarginCall, "account_id")
RESTRICTIONS = Topic("restrictions.v1", outputs.Restriction, "account_id")
LIQUIDATIONS = Topic("liquidations.v1", outputs.Liquidation, "account_id")
FIRM_TOTALS = Topic("firm.totals.v1", outputs.FirmTotals, "account_id")
AUDIT = Topic("audit.v1", outputs.Audit, "account_id")
DEADLETTER = Topic("deadletter.v1", outputs.DeadLetter, "topic")

#: The digests of the archive, published apart from the store that they are of (schemas.archive).
DIGESTS = "audit.digests.v1"

INPUTS = (SNAPSHOTS, ACCOUNTS, INSTRUMENTS, BETAS, PRICES, FILLS, CASH, OVERRIDES)
OUTPUTS = (
    MARGIN_CALC,
    STRESS_BETA_SPY,
    STRESS_TIMS,
    MARGIN_INTRADAY,
    ACCOUNTS_STATE,
    ALERTS,
    MARGIN_CALLS,
    RESTRICTIONS,
    LIQUIDATIONS,
    FIRM_TOTALS,
    AUDIT,
    DEADLETTER,
)
#: snapshots.v1 is both: the closing snapshot of one day opens the next.
WRITTEN = (*OUTPUTS, SNAPSHOTS)
BY_NAME = {topic.name: topic for topic in (*INPUTS, *OUTPUTS)}
BY_RECORD = {topic.record: topic for topic in BY_NAME.values()}


def name_of(record: inputs.Input) -> str:
    """An input by its topic and its own id, or its key where it has none: fills.v1/F-17."""
    topic = BY_RECORD[type(record)]
    return f"{topic.name}/{getattr(record, topic.id or topic.key)}"

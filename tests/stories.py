"""Stories for Hypothesis: several days of accounts that trade, are called, and answer their calls; and the same days by
plain loops, for what they owe."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any, NamedTuple

import msgspec
from hypothesis import strategies as st

from pipeline.rules import load_rulebook
from risk.rulebook import Rulebook
from schemas.inputs import Account, Cash, Fill, Input, Instrument, LiquidationOrder, Override, Price
from schemas.outputs import Liquidation, MarginCall, Restriction
from schemas.scalars import Money, Quantity, Time
from tests import days
from tests.days import on

#: Monday the 19th is Martin Luther King Day.
SESSIONS = ("14", "15", "16", "20", "21", "22", "23", "26")
ACCOUNTS = ("A0", "A1", "A2")
STOCKS = ("S0", "S1")
PUT = "S0 P90"
#: Before the open, twice in one instant, at the close, within the minute until official closes are in, after it.
TIMES = ("12:00:00", "14:31:00", "15:00:00", "15:00:30", "18:00:00", "20:59:30", "21:00:00", "21:00:30", "22:30:00")
OPENED = on(SESSIONS[0], "11:00:00")

_BOOK = load_rulebook("finra-4210")
assert _BOOK.calls is not None
#: Calls of fifteen sessions would outlast every story. No price turns old: what is halted is not to be relied on.
RULES = dataclasses.replace(
    _BOOK,
    calls=dataclasses.replace(
        _BOOK.calls, due=_BOOK.calls.due | {"MAINTENANCE": 3, "MINIMUM_EQUITY": 4, "INTRADAY": 2}
    ),
    stale_after=500_000,
    persist=7200,
    heartbeat=10**8,
)


class Story(NamedTuple):
    """Records of some days, the rules that they are under, and the session that is their last, a place of SESSIONS."""

    records: list[Input]
    rules: Rulebook
    last: int

    @property
    def until(self) -> Time:
        """The evening of its last session, after official closes."""
        return on(SESSIONS[self.last], "23:30:00")

    def run(self, shards: int = 1, parts: int = 1) -> list[Any]:
        """(topic, record) of what the fold makes of it."""
        return days.run(self.records, shards, parts, rules=self.rules, until=self.until)


_ANSWERED = ("OPENED", "EXPIRED", "PROPOSED", "IMPOSED")
#: What is decided of a call, of a proposal, of a restriction, and out of the blue.
_ACTIONS: dict[type, tuple[Any, ...]] = {
    MarginCall: ("EXTEND", "EXTEND", "WAIVE"),
    Liquidation: ("APPROVE", "APPROVE", "REJECT", "EXEMPT"),
    Restriction: ("RELEASE", "RESTRICT", "EXEMPT"),
    type(None): ("EXTEND", "WAIVE", "EXEMPT", "RESTRICT", "RELEASE", "APPROVE", "REJECT"),
}


def dollars(amount: float) -> Money:
    return Money(round(amount * 10_000))


def quote(symbol: str, price: float, at: Time, status: Any = "LIVE") -> Price:
    return Price(symbol=symbol, price=price, as_of=at, arrived_at=at, status=status)


def paid(number: Any, account: str, amount: float, at: Time) -> Cash:
    kind: Any = "DEPOSIT" if amount > 0 else "WITHDRAWAL"
    return Cash(cash_id=f"C{number}", account_id=account, amount=dollars(amount), kind=kind, arrived_at=at)


@st.composite
def stories(draw: st.DrawFn, *, options: bool = True) -> Story:
    """1 to 3 accounts over 3 to 6 sessions: what happens to them, and then, of what was called, what is answered."""
    last = draw(st.integers(2, 5))
    moment = st.builds(on, st.sampled_from(SESSIONS[: last + 1]), st.sampled_from(TIMES))
    accounts, price = ACCOUNTS[: draw(st.integers(1, 3))], st.sampled_from([40.0, 60.0, 80.0, 95.0, 105.0, 130.0])
    records: list[Input] = [quote(symbol, 100.0, OPENED) for symbol in STOCKS]
    symbols = STOCKS
    if options and draw(st.booleans()):
        expiry = Time.parse("2026-04-17T20:00:00Z")
        own = {"type": "OPTION", "underlying": "S0", "strike": 90.0, "right": "PUT", "exercise": "EUROPEAN"}
        records += [Instrument(symbol=PUT, expiry=expiry, multiplier=100.0, arrived_at=OPENED, **own)]  # type: ignore[arg-type]
        # With a volatility, for to imply one takes most of the time of a story.
        records += [msgspec.structs.replace(quote(PUT, 4.0, OPENED), implied_volatility=0.4)]
        symbols = (*STOCKS, PUT)
    for number, account in enumerate(accounts):
        regime = draw(st.sampled_from(["STRATEGY", "PORTFOLIO", None]))
        if regime is not None:
            records.append(Account(account_id=account, margin_type=regime, arrived_at=OPENED))
        records.append(paid(f"own{number}", account, draw(st.sampled_from([8e3, 3e4, 6e4, 15e4])), OPENED))
    for number in range(draw(st.integers(1, 9))):
        records += _fill(draw, f"F{number}", accounts, symbols, moment)
    for number, at in enumerate(draw(st.lists(moment, max_size=4))):
        amount = draw(st.sampled_from([-40e3, -3e3, 500.0, 2500.0, 10e3, 60e3]))
        records.append(paid(number, draw(st.sampled_from(accounts)), amount, at))
    for at in draw(st.lists(moment, max_size=9)):
        status = draw(st.sampled_from(["LIVE", "LIVE", "LIVE", "LIVE", "HALTED"]))
        records.append(quote(draw(st.sampled_from(STOCKS)), draw(price), at, status))
    rules = dataclasses.replace(
        RULES,
        liquidation=dataclasses.replace(RULES.liquidation, automatic=draw(st.booleans())),  # type: ignore[type-var]
        # Where the house asks for more of what is concentrated, its calls are of two types.
        **draw(st.sampled_from([{}, {"concentration_threshold": 0.6, "concentration_rate": 0.15}])),
    )
    story = Story(records, rules, last)
    return story._replace(records=[*records, *draw(_answers(story, accounts, moment))])


def _fill(
    draw: st.DrawFn, fill_id: str, accounts: tuple[str, ...], symbols: tuple[str, ...], moment: st.SearchStrategy[Time]
) -> Iterator[Fill]:
    """A fill, and its corrections and busts of the same day, of another, or of before it."""
    symbol, at = draw(st.sampled_from(symbols)), draw(moment)
    sizes = [-5, -2, 2, 5] if symbol == PUT else [-500, -200, 200, 500, 1000, 1500]
    price = st.sampled_from([3.0, 5.0] if symbol == PUT else [95.0, 100.0, 104.0])
    own = Fill(
        fill_id=fill_id,
        account_id=draw(st.sampled_from(accounts)),
        symbol=symbol,
        quantity=Quantity(draw(st.sampled_from(sizes)) * 10**6),
        price=draw(price),
        executed_at=draw(st.sampled_from([None, at, at])),
        arrived_at=at,
    )
    yield own
    for version in range(2, 2 + draw(st.sampled_from([0, 0, 0, 1, 1, 2]))):
        yield msgspec.structs.replace(
            own,
            fill_id=f"{fill_id}-{version}",
            ref_fill_id=fill_id,
            kind=draw(st.sampled_from(["CORRECT", "BUST"])),
            version=version,
            quantity=Quantity(draw(st.sampled_from(sizes)) * 10**6),
            price=draw(price),
            arrived_at=draw(moment),
        )


def _order_filled(fill_id: str, account: str, order: LiquidationOrder, at: Time) -> Fill:
    later = Time(at + 600 * days.SECOND)
    fields = {"symbol": order.symbol, "quantity": order.quantity, "price": order.price, "executed_at": later}
    return Fill(fill_id=fill_id, account_id=account, arrived_at=later, **fields)  # type: ignore[arg-type]


@st.composite
def _answers(draw: st.DrawFn, story: Story, accounts: tuple[str, ...], moment: st.SearchStrategy[Time]) -> list[Input]:
    """What operators decide and customers pay on the calls and proposals of a story; some of it to be refused."""
    told = [(own.account_id, own.cause_id, own) for _, own in story.run() if getattr(own, "status", "") in _ANSWERED]
    answers: list[Input] = []
    for number in range(draw(st.integers(0, 6))):
        account, target, record = draw(st.sampled_from(told or [(accounts[0], "none", None)]))
        at, expires_at = draw(st.tuples(moment, st.one_of(st.none(), moment)))
        if record is not None and draw(st.integers(0, 3)):
            # Mostly soon after it was said, and with a time that is ahead.
            at = Time(record.as_of + draw(st.sampled_from([0, 3600, 20 * 3600])) * days.SECOND)
            later = draw(st.sampled_from([5, 30, 75])) * 3600 * days.SECOND
            expires_at = Time(max(getattr(record, "due_at", 0), at) + later)
        amount = getattr(record, "amount", 0) / 10_000
        if amount > 0 and draw(st.booleans()):
            answers.append(paid(f"answer{number}", account, amount * draw(st.sampled_from([0.5, 1.0])), at))
            continue
        if isinstance(record, Liquidation) and draw(st.booleans()):
            # A proposal that nobody approved may be filled too; then it stays as it is.
            answers += [_order_filled(f"L{number}-{own.symbol}", account, own, at) for own in record.orders]
        answers.append(
            Override(
                override_id=f"O{number}",
                account_id=account,
                operator="ann",
                approver=draw(st.sampled_from(["bob"] * 9 + ["ann", None])),
                reason=draw(st.sampled_from(["as agreed"] * 9 + [" "])),
                action=draw(st.sampled_from(_ACTIONS[type(record)])),
                target=target,
                expires_at=expires_at,
                arrived_at=at,
            )
        )
    return answers

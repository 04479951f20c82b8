"""The properties of design 6 that need no engine, on small random days."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from unittest import mock

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.codec import to_json
from schemas.inputs import Account, Beta, Cash, Fill, Input, Override, Price, Snapshot, SnapshotPosition
from schemas.scalars import Money, Quantity, Time
from schemas.topics import BY_RECORD
from tests import days
from tests.days import CLOSES, RULES, SYMBOLS, at
from transforms.monitor import in_total_order
from transforms.records import by_instant

SETTINGS = settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow], print_blob=True)
FEWER = settings(SETTINGS, max_examples=25)
OPENING = {"OPENED", "IMPOSED", "DUE"}
CONSEQUENCES = ("margin.calls.v1", "restrictions.v1", "liquidations.v1")


def of_topic(outputs: Sequence[days.Output], *topics: str, account: str | None = None) -> list[Any]:
    found: list[Any] = [record for topic, record in outputs if topic in topics]
    return [record for record in found if account in (None, record.account_id)]


# Property 1 and the cells of the state.


@SETTINGS
@given(days.days(), st.data())
def test_order_split_duplicates_and_shards_change_nothing(day: list[Input], data: st.DataObject) -> None:
    expected = days.outputs(day)
    again = data.draw(st.permutations(day + data.draw(st.lists(st.sampled_from(day), max_size=5)) if day else day))
    shards, parts = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    assert days.outputs(again, shards, parts) == expected


@SETTINGS
@given(days.days(), st.integers(1, 3))
def test_how_many_positions_are_valued_at_a_time_changes_nothing(day: list[Input], positions: int) -> None:
    expected = days.lines(days.run(day, publish_all=True))
    with mock.patch("transforms.monitor.SWEEP", positions):
        assert days.lines(days.run(day, publish_all=True)) == expected


@SETTINGS
@given(days.days())
def test_few_lines_are_those_of_a_page(day: list[Input]) -> None:
    expected = days.lines(days.run(day, publish_all=True))
    with mock.patch("transforms.lines.FEW", 0):
        assert days.lines(days.run(day, publish_all=True)) == expected


@SETTINGS
@given(days.days())
def test_older_prices_of_an_instant_change_nothing(day: list[Input]) -> None:
    fold, told = days.fold_of(publish_all=True), []
    for mine in days.shards_of(day, 2):
        pieces = by_instant(days.by_topic(mine), fold.instant_of).values()
        told += fold.advance(fold.start(), [piece.conflated() for piece in pieces], CLOSES)
    assert days.lines(days.with_firm(told)) == days.lines(days.run(day, shards=2, publish_all=True))


@SETTINGS
@given(days.days(), st.data())
def test_the_total_order_is_a_plain_sort(day: list[Input], data: st.DataObject) -> None:
    def place(record: Input) -> tuple:
        topic = BY_RECORD[type(record)]
        return record.arrived_at, topic.rank, getattr(record, topic.key), to_json(record)

    # Within few instants, so that much is tied.
    stamped = [msgspec.structs.replace(record, arrived_at=at(data.draw(st.integers(0, 2)))) for record in day]
    assert list(in_total_order(data.draw(st.permutations(stamped)) if stamped else [])) == sorted(stamped, key=place)


@FEWER
@given(days.days(), st.integers(1, 3))
def test_state_survives_its_cells_between_every_two_instants(day: list[Input], shards: int) -> None:
    assert days.lines(days.run_stepwise(day, shards)) == days.outputs(day)


def test_a_halt_and_a_quote_of_one_microsecond_have_an_order() -> None:
    """A halt keeps the last price, so the order decides it: the records' content must say it, not the input."""
    quotes: list[Input] = [
        Price(symbol="S0", price=90.0, as_of=at(100), arrived_at=at(100)),
        Price(symbol="S0", price=20.0, as_of=at(200), arrived_at=at(400)),
        Price(symbol="S0", price=20.0, as_of=at(300), arrived_at=at(400), status="HALTED"),
    ]
    day = [fill("A0", 10, 30), *quotes]
    assert days.outputs(day[::-1]) == days.outputs(day)


def test_prices_that_differ_in_their_volatility_alone_are_no_obstacle() -> None:
    quotes: list[Input] = [
        quote("S0", 90.0, 60),
        msgspec.structs.replace(quote("S0", 90.0, 60), implied_volatility=0.3),
    ]
    assert days.outputs([fill("A0", 10, 30), *quotes]) == days.outputs([fill("A0", 10, 30), *quotes[::-1]])


def test_figures_beyond_the_contract_are_told_as_its_limits() -> None:
    """A cushion of 10**11 to 1, and more dollars than a double holds to the tick."""
    cheap = Price(symbol="S0", price=0.0003, as_of=at(20), arrived_at=at(20))
    dear = Price(symbol="S1", price=1e8, as_of=at(20), arrived_at=at(20))
    day: list[Input] = [cheap, dear, cash("A0", 10_000_000, 30), fill("A0", 1, 60, price=0.0003)]
    day += [
        fill(account, quantity, 60, symbol="S1", price=1.0) for account, quantity in (("A1", 10**6), ("A2", -(10**6)))
    ]
    outputs = days.run(day, publish_all=True)
    closing = {figures.account_id: figures for figures in closing_figures(outputs)}
    limit = 2**53 - 1
    assert (closing["A0"].cushion, closing["A1"].equity, closing["A2"].equity) == (limit, limit, -limit)
    (call,) = of_topic(outputs, "margin.calls.v1", account="A2")
    assert call.amount == limit


def test_accounts_may_use_the_same_ids() -> None:
    day: list[Input] = []
    for account in ("A0", "A1", "A2"):
        day.append(cash(account, 5_000, 30))
        day.append(fill(account, 10, 60))
    for shards in (1, 2, 7):
        closing = of_topic(days.run(day, shards), "snapshots.v1")
        assert [len(s.positions) for s in closing] == [1, 1, 1]
        assert days.outputs(day, shards) == days.outputs(day)


def closing_figures(outputs: list[days.Output]) -> list[Any]:
    return [figures for figures in of_topic(outputs, "margin.calc.v1") if figures.as_of == days.CLOSES]


def test_a_fill_prices_no_other_account_in_an_unquoted_symbol() -> None:
    day = [fill("A0", 10, 30, price=100.0), fill("A1", 10, 90, price=50.0), fill("A2", 10, 150, price=20.0)]
    for shards in (1, 2, 7):
        outputs = days.run(day, shards)
        values = {c.account_id: c.long_market_value // 10**5 for c in closing_figures(outputs)}
        assert values == {"A0": 100, "A1": 50, "A2": 20}
        # What a fill says is left to the fill, which the snapshot has too.
        assert not any(p.close for s in of_topic(outputs, "snapshots.v1") for p in s.positions)


def test_a_repeated_override_is_journalled_once() -> None:
    one = Override(override_id="O1", account_id="A0", operator="me", reason="why", action="EXTEND", arrived_at=at(90))
    assert days.outputs([one, one]) == days.outputs([one])


# Property 4: an element for each holding, and nothing but dictionaries and loops.


class Oracle:
    """What the records before an instant amount to, one holding at a time."""

    def __init__(self, records: Sequence[Input], instant: int) -> None:
        self.cash: dict[str, int] = {}
        self.held: dict[str, dict[str, int]] = {}
        self.instant = instant
        self.prices: dict[str, list[Price]] = {}
        self.quotes: dict[str, float] = {}
        self.betas: dict[str, Beta] = {}
        self.fills: dict[tuple[str, str], dict[int, Fill]] = {}
        self.applied: dict[tuple[str, str], int] = {}
        self.paid: set[tuple[str, str]] = set()
        for record in in_total_order(r for r in records if r.arrived_at < instant):
            self.take(record)

    def take(self, record: Input) -> None:
        if isinstance(record, Price):
            self.quote(record)
        elif isinstance(record, Beta):
            was = self.betas.get(record.symbol)
            if record.effective_at > self.instant:
                return
            if was is None or (record.effective_at, record.beta) > (was.effective_at, was.beta):
                self.betas[record.symbol] = record
        elif isinstance(record, Cash):
            self.cash.setdefault(record.account_id, 0)
            if (record.account_id, record.cash_id) not in self.paid:
                self.paid.add((record.account_id, record.cash_id))
                self.cash[record.account_id] += record.amount
        elif isinstance(record, Fill):
            self.trade(record)
        elif isinstance(record, Account):
            self.cash.setdefault(record.account_id, 0)

    def quote(self, price: Price) -> None:
        """The newest so far; no indicative one beside a live one, and a halt's where there is no other."""
        told = self.prices.setdefault(price.symbol, [])
        told.append(price)
        told.sort(key=lambda p: (p.as_of, p.sequence, p.source, p.price, p.status))
        live = [p.status for p in told if p.status in ("LIVE", "CLOSE")][-1:] == ["LIVE"]
        usable = [p for p in told if p.status != "HALTED" and not (live and p.status == "INDICATIVE")]
        self.quotes[price.symbol] = (usable or told)[-1].price

    def trade(self, fill: Fill) -> None:
        """Undo what stands of the fill, take the version, and apply what stands now."""
        account = fill.account_id
        self.cash.setdefault(account, 0)
        root = (account, fill.ref_fill_id or fill.fill_id)
        versions = self.fills.setdefault(root, {})
        before = standing(versions)
        versions.setdefault(fill.version, fill)
        after = standing(versions)
        for sign, one in ((-1, before), (1, after)):
            if before is not after and one is not None:
                held = self.held.setdefault(account, {})
                held[one.symbol] = held.get(one.symbol, 0) + sign * one.quantity
                self.cash[account] -= sign * (round(one.quantity / 1e6 * one.price * 1e4) + one.fees)
        if before is None and after is not None:
            self.applied[root] = days.fold_of().instant_of(int(fill.arrived_at or 0))

    def last_fill(self, account: str, symbol: str) -> float:
        """The price of the fill that stands and applied last, then was executed last, then has the highest id."""
        trades = []
        for (owner, own_id), versions in self.fills.items():
            one = standing(versions)
            if owner == account and one is not None and one.symbol == symbol:
                applied = self.applied[owner, own_id]
                trades.append((applied, -1 if one.executed_at is None else one.executed_at, one.fill_id, one.price))
        return max(trades)[-1]

    def figures(self, account: str) -> dict[str, Any]:
        """Equity, requirement and every P&L of an account, in ticks."""
        holdings = []
        for symbol, quantity in self.held.get(account, {}).items():
            if quantity:
                price = self.quotes.get(symbol) or self.last_fill(account, symbol)
                beta = self.betas[symbol].beta if symbol in self.betas else RULES.default_beta
                holdings.append((quantity / 1e6 * price, beta))
        values = [round(value * 1e4) for value, _ in holdings]
        equity = self.cash[account] + sum(values)
        stress, again = [], []
        for move in RULES.spy_moves:
            losses = [round(value * max(move * beta, -1.0) * 1e4) for value, beta in holdings]
            stress.append(sum(losses))
            again.append(requirement([v + p for v, p in zip(values, losses, strict=True)]))
        tims = [sum(round(point * value * 1e4) for value, _ in holdings) for point in RULES.tims_moves]
        return {
            "equity": equity,
            "requirement": requirement(values),
            "stress": stress,
            "restressed": again,
            "tims": tims,
            "worst": min(0, *tims),
        }


def standing(versions: dict[int, Fill]) -> Fill | None:
    """The version of a fill that holds: the highest, if the fill itself came and that is no bust."""
    if not any(v.kind == "NEW" for v in versions.values()):
        return None
    latest = versions[max(versions)]
    return None if latest.kind == "BUST" else latest


def requirement(values: list[int]) -> int:
    gross = sum(map(abs, values))
    total = 0
    for size in map(abs, values):
        total += round(size * (RULES.long_rate))
        if size > round(gross * RULES.concentration_threshold):
            total += round(size * RULES.concentration_rate)
    return total


@SETTINGS
@given(days.days())
def test_columns_equal_one_element_per_holding(day: list[Input]) -> None:
    fold = days.fold_of()
    outputs = days.run(day, publish_all=True)
    shown: dict[tuple[str, int], dict[str, Any]] = {}
    for margin, stress, tims in zip(
        *(of_topic(outputs, t) for t in ("margin.calc.v1", "stress.beta_spy.v1", "stress.tims.v1")), strict=True
    ):
        assert margin.account_id == stress.account_id == tims.account_id
        shown[margin.account_id, margin.as_of] = {
            "equity": margin.equity,
            "requirement": margin.requirement,
            "stress": [s.pnl for s in stress.scenarios],
            "restressed": [s.requirement_restressed for s in stress.scenarios],
            "tims": [p.pnl for p in tims.points],
            "worst": tims.worst_loss,
        }
    # At every instant that saw a record, what was published last is what the oracle finds now.
    for instant in sorted({fold.instant_of(int(r.arrived_at)) for r in day} | {CLOSES} if day else ()):
        oracle = Oracle(day, instant)
        for account in oracle.cash:
            last = max(when for who, when in shown if who == account and when <= instant)
            assert shown[account, last] == oracle.figures(account)


# Property 6: a bust.


def fill(account: str, shares: int, seconds: float, *, price: float = 100.0, **fields: Any) -> Fill:
    head = {"fill_id": "X", "symbol": "S0"} | fields
    return Fill(account_id=account, quantity=Quantity(shares * 10**6), price=price, arrived_at=at(seconds), **head)


def cash(account: str, amount: int, seconds: float) -> Cash:
    money = Money(amount * 10**4)
    return Cash(cash_id="D", account_id=account, amount=money, kind="DEPOSIT", arrived_at=at(seconds))


def quote(symbol: str, price: float, seconds: float) -> Price:
    return Price(symbol=symbol, price=price, as_of=at(seconds), arrived_at=at(seconds))


def bust_of(fill: Fill, seconds: float) -> Fill:
    return msgspec.structs.replace(
        fill, fill_id=f"{fill.fill_id}-B", kind="BUST", ref_fill_id=fill.fill_id, version=2, arrived_at=at(seconds)
    )


def of_others(outputs: Sequence[days.Output]) -> list[days.Line]:
    """Of each account but A0; the firm has A0 in it."""
    lines = [line for line in days.lines(outputs) if line[0] != "firm.totals.v1"]
    return [line for line in lines if b'"account_id":"A0"' not in line[1]]


@SETTINGS
@given(
    days.days(amended=False),
    st.sampled_from(SYMBOLS),
    st.sampled_from([-2000, -200, 200, 2000]),
    st.integers(2, 20),
    st.integers(1, 35),
)
def test_a_bust_leaves_the_day_without_the_fill(
    day: list[Input], symbol: str, shares: int, place: int, wait: int
) -> None:
    # Without a quote, the erroneous fill itself priced what it was part of.
    day = day + [quote(s, 100.0, 1) for s in SYMBOLS]
    bad = fill("A0", shares, place * 30, fill_id="BAD", symbol=symbol)
    bust = bust_of(bad, (place + wait) * 30)
    without, outputs = days.run(day, publish_all=True), days.run([*day, bad, bust], publish_all=True)
    book = {s.account_id: {(p.symbol, p.quantity) for p in s.positions} for s in of_topic(outputs, "snapshots.v1")}
    same = {s.account_id: {(p.symbol, p.quantity) for p in s.positions} for s in of_topic(without, "snapshots.v1")}
    assert book == {"A0": set()} | same
    balance = {s.account_id: s.cash for s in of_topic(outputs, "snapshots.v1")}
    assert balance == {"A0": 0} | {s.account_id: s.cash for s in of_topic(without, "snapshots.v1")}
    assert of_others(outputs) == of_others(without)

    fold = days.fold_of()
    applied, undone = fold.instant_of(int(bad.arrived_at)), fold.instant_of(int(bust.arrived_at))
    figures = {m.as_of: m for m in of_topic(without, "margin.calc.v1", account="A0")}
    stresses = {m.as_of: m for m in of_topic(without, "stress.beta_spy.v1", account="A0")}
    severe = RULES.spy_moves.index(RULES.severe_move)
    for topic in CONSEQUENCES:
        events = of_topic(outputs, topic, account="A0")
        ends = {event.supersedes: event for event in events if event.supersedes}
        for event in events:
            end = ends.get(event.event_id)
            if event.status not in OPENING:
                continue
            rests_on_it = applied <= event.as_of < undone and (end is None or end.as_of >= undone)
            last = max((when for when in figures if when <= event.as_of), default=None)
            below = topic == "restrictions.v1" and last and stresses[last].scenarios[severe].equity < 0
            short = topic != "restrictions.v1" and last and figures[last].excess < 0
            if topic == "liquidations.v1":
                began = max((when for when in figures if when <= event.deficient_since), default=None)
                short = short and began and figures[began].excess < 0
            cancelled = end is not None and end.status == "CANCELLED"
            assert cancelled == (rests_on_it and not (below or short)), event
            assert not cancelled or end.as_of == undone


def test_everything_that_one_fill_caused_is_cancelled() -> None:
    bad = fill("A0", 100, 60)
    day = [quote("S0", 100.0, 30), cash("A0", 500, 30), bad, bust_of(bad, 720)]
    outputs = days.run(day)
    for topic in CONSEQUENCES:
        opened, cancelled = of_topic(outputs, topic)
        assert opened.status in OPENING
        assert (cancelled.status, cancelled.supersedes) == ("CANCELLED", opened.event_id)
    assert of_topic(outputs, "accounts.state.v1")[-1].level == "NONE"


def test_a_bust_of_a_sale_that_left_nothing_uses_the_price_of_the_opening() -> None:
    # Without the sale, S1 was worth 4000 at the opening and no call was due, although it is worth 500 now.
    sale = fill("A0", -10, 90, fill_id="SALE", symbol="S1")
    day = [
        cash("A0", 500, 30),
        quote("S0", 100.0, 30),
        quote("S1", 100.0, 30),
        fill("A0", 10, 60, fill_id="BUY", symbol="S1"),
        fill("A0", 10, 60, fill_id="OTHER"),
        sale,
        quote("S0", 1.0, 150),
        quote("S1", 400.0, 150),
        quote("S1", 50.0, 600),
    ]
    outputs = days.run([*day, bust_of(sale, 900)])
    assert [c.status for c in of_topic(outputs, "margin.calls.v1")] == ["OPENED", "CANCELLED", "OPENED"]


@SETTINGS
@given(days.days(), st.integers(1, 3))
def test_every_level_that_has_a_consequence_has_it_open(day: list[Input], shards: int) -> None:
    for snapshot in of_topic(days.run(day, shards), "snapshots.v1"):
        assert set(snapshot.levels) - {"WARNING", "REVIEW"} == set(snapshot.opened) - {"DEFICIENCY"}
        rests = snapshot.deficient_since is not None or "LIQUIDATION" in snapshot.levels
        assert rests == ("DEFICIENCY" in snapshot.opened)


def test_a_call_that_is_cancelled_and_due_at_once_opens_anew() -> None:
    bad = fill("A0", 100, 60)
    day = [quote("S0", 100.0, 30), cash("A0", 3_700, 30), fill("A0", 100, 60, fill_id="GOOD"), bad]
    outputs = days.run([*day, quote("S0", 70.0, 240), bust_of(bad, 240)])
    calls = [(c.status, c.as_of) for c in of_topic(outputs, "margin.calls.v1")]
    assert calls == [("OPENED", at(120)), ("CANCELLED", at(300)), ("OPENED", at(300))]


def test_a_liquidation_whose_deficiency_began_with_a_bad_fill_is_cancelled() -> None:
    # By the time it was due the account was deficient anyway, but not for as long.
    bad = fill("A0", 60, 60)
    day = [quote("S0", 100.0, 30), cash("A0", 3_600, 30), fill("A0", 45, 60, fill_id="GOOD"), bad]
    outputs = days.run([*day, quote("S0", 30.0, 300), bust_of(bad, 720), quote("S0", 30.0, 840)])
    events = [(e.status, e.as_of) for e in of_topic(outputs, "liquidations.v1")]
    assert events == [("DUE", at(420)), ("CANCELLED", at(780)), ("DUE", at(780 + RULES.persist))]


def test_a_bust_takes_its_price_along_where_there_is_no_quote() -> None:
    good, bad = fill("A0", 10, 60, fill_id="GOOD", price=50.0), fill("A0", 10, 90, price=200.0)
    day = [cash("A0", 5_000, 30), good]
    for busted in ([*day, bad, bust_of(bad, 300)], [*day, bad, bust_of(bad, 90)]):
        outputs = days.run(busted)
        (closing,) = of_topic(outputs, "snapshots.v1")
        assert [p.quantity for p in closing.positions] == [10 * 10**6]
        assert [c.long_market_value for c in closing_figures(outputs)] == [Money(500 * 10**4)]


def test_a_snapshots_close_comes_before_the_price_of_a_fill() -> None:
    held = (SnapshotPosition(symbol="S0", quantity=Quantity(10**7), close=40.0),)
    opening = Snapshot(account_id="A0", as_of=at(0), arrived_at=at(1), positions=held)
    (closing,) = of_topic(days.run([opening, fill("A0", 5, 60, price=60.0)]), "snapshots.v1")
    assert [(p.quantity, p.close) for p in closing.positions] == [(15 * 10**6, 40.0)]


def test_a_snapshot_replaces_what_was_there() -> None:
    opening = Snapshot(account_id="A0", as_of=at(0), arrived_at=at(150), cash=Money(70_000), cut=at(150))
    for again in ([], [fill("A0", 10, 60)]):
        # The first fill is before the snapshot's cut; the same fill after it is one that the snapshot does not know.
        day = [cash("A0", 5_000, 30), fill("A0", 10, 60), opening, *again, fill("A0", 3, 200, fill_id="NEW")]
        (closing,) = of_topic(days.run(day), "snapshots.v1")
        assert [(p.symbol, p.quantity) for p in closing.positions] == [("S0", 3 * 10**6)]
        assert (closing.cash, [f.fill_id for f in closing.fills]) == (Money(70_000 - 3_000_000), ["NEW"])


def test_a_beta_waits_until_it_is_effective() -> None:
    later = Beta(symbol="S0", beta=2.0, effective_at=at(700), arrived_at=at(30))
    day = [quote("S0", 100.0, 30), cash("A0", 5_000, 30), fill("A0", 10, 60), later]
    shown = {s.as_of: s.beta_weighted_exposure for s in of_topic(days.run(day, publish_all=True), "stress.beta_spy.v1")}
    assert max(when for when, exposure in shown.items() if exposure == Money(1_000 * 10**4)) < at(720)
    assert shown[at(720)] == Money(2_000 * 10**4)


def test_an_opening_is_re_evaluated_at_its_own_beta() -> None:
    # With the shares that were never sold, stress takes 40% of 10,000 at the opening's beta and nothing at today's.
    sale = fill("A0", -1, 60, fill_id="SALE")
    day = [
        Beta(symbol="S0", beta=5.0, effective_at=at(0), arrived_at=at(30)),
        quote("S0", 100.0, 30),
        cash("A0", 3_900, 30),
        fill("A0", 100, 60),
        sale,
        Beta(symbol="S0", beta=0.0, effective_at=at(300), arrived_at=at(300)),
    ]
    events = of_topic(days.run([*day, bust_of(sale, 300)]), "restrictions.v1")
    assert [(e.status, e.as_of) for e in events] == [("IMPOSED", at(120)), ("LIFTED", at(360))]


def test_the_next_day_knows_a_busted_fill_by_its_own_id() -> None:
    once, kept = fill("A0", 10, 60), fill("A0", 3, 60, fill_id="KEPT")
    (snapshot,) = of_topic(days.run([cash("A0", 5_000, 30), once, kept, bust_of(once, 120)]), "snapshots.v1")
    opening: Snapshot = msgspec.structs.replace(snapshot, arrived_at=at(0), cut=at(0))
    resent = [msgspec.structs.replace(r, arrived_at=at(300)) for r in (once, kept, cash("A0", 5_000, 30))]
    (closing,) = of_topic(days.run([opening, *resent]), "snapshots.v1")
    assert (closing.positions, closing.cash) == (snapshot.positions, snapshot.cash)
    assert closing.cash_ids == snapshot.cash_ids
    busted = days.run([opening, bust_of(once, 300)])
    assert not of_topic(busted, "deadletter.v1"), "the same bust again"
    (unbooked,) = of_topic(days.run([opening, bust_of(kept, 300)]), "snapshots.v1")
    assert (unbooked.positions, unbooked.cash) == ((), Money(5_000 * 10**4))


# Property 7.


@SETTINGS
@given(days.days())
def test_money_and_fresh_prices_clear_every_level(day: list[Input]) -> None:
    late = Time(CLOSES - 1)
    accounts = {r.account_id for r in day if hasattr(r, "account_id")}
    cure: list[Input] = [Price(symbol=s, price=90.0, as_of=late, arrived_at=late) for s in SYMBOLS]
    for account in accounts:
        cure.append(Cash(cash_id="CURE", account_id=account, amount=Money(10**12), kind="DEPOSIT", arrived_at=late))
    outputs = days.run([*day, *cure])
    final = {s.account_id: s for s in of_topic(outputs, "accounts.state.v1")}
    assert {account: state.level for account, state in final.items()} == dict.fromkeys(accounts, "NONE")
    assert not any(state.open_events or state.deficient_since for state in final.values())

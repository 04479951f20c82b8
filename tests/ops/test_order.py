"""Orders checked against what a replay published, what a live job did, and a desk that is told of newer records."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from typer.testing import CliRunner

from ops.bars import write_topic
from ops.cli import app
from ops.desk import OrderDesk
from ops.generate import write_day
from ops.order import Leg, OrderError, leg_of
from ops.standing import of_job, of_replay, partition_of
from pipeline.day import Manifest, write_manifest
from pipeline.job import LiveJob, load_live_job
from pipeline.replay import replay
from pipeline.rules import load_rulebook
from runners.direct import ENGINE
from runners.engine import Run
from schemas.codec import from_json, to_json
from schemas.inputs import Account, Cash, Fill, Input, Instrument, Price, PricedPosition
from schemas.outputs import AccountState, Level
from schemas.scalars import Money, Quantity, Time
from schemas.topics import ACCOUNTS_STATE, BY_RECORD, INSTRUMENTS, PRICES
from tests.broker import PARTITIONS, MockBroker

FINRA = load_rulebook("finra-4210")
MILLION = 10**6
OPENS = Time.parse("2026-06-15T13:30:00Z")


def minute(number: float) -> Time:
    return Time(OPENS + round(number * 60) * MILLION)


def put(strike: int) -> Instrument:
    return Instrument(
        symbol=f"XYZ-P{strike}",
        type="OPTION",
        underlying="XYZ",
        strike=float(strike),
        expiry=Time.parse("2026-09-18T20:00:00Z"),
        right="PUT",
        multiplier=100.0,
        arrived_at=minute(1),
    )


def quote(symbol: str, price: float, number: float, **fields: Any) -> Price:
    return Price(symbol=symbol, price=price, as_of=minute(number), arrived_at=minute(number), **fields)


def bought(fill_id: str, account: str, symbol: str, quantity: int, price: float, number: float) -> Fill:
    return Fill(
        fill_id=fill_id,
        account_id=account,
        symbol=symbol,
        quantity=Quantity(quantity * MILLION),
        price=price,
        arrived_at=minute(number),
    )


def paid(account: str, amount: int) -> Cash:
    return Cash(
        cash_id=f"C-{account}", account_id=account, amount=Money(amount * 10**4), kind="DEPOSIT", arrived_at=minute(2)
    )


#: A has room; B has a put spread and is called as XYZ falls; P is on portfolio margin; the house asks H for 60%.
RECORDS: tuple[Input, ...] = (
    *(put(strike) for strike in (95, 90, 85)),
    Instrument(symbol="XYZ", arrived_at=minute(1)),
    Instrument(symbol="SPX", type="INDEX", arrived_at=minute(1)),
    Instrument(symbol="NEW", arrived_at=minute(1)),
    Account(account_id="P", margin_type="PORTFOLIO", arrived_at=minute(1)),
    Account(account_id="H", house_long_rate=0.6, arrived_at=minute(1)),
    *(paid(account, amount) for account, amount in (("A", 20_000), ("B", 1_800), ("P", 200_000), ("H", 20_000))),
    *(quote(symbol, price, 3) for symbol, price in (("XYZ", 100.0), ("XYZ-P95", 2.1), ("XYZ-P90", 1.0), ("ABC", 50.0))),
    quote("XYZ-P85", 0.4, 3, implied_volatility=0.31),
    bought("F1", "A", "XYZ", 200, 100.0, 5),
    bought("F2", "B", "XYZ-P95", -4, 2.1, 5),
    bought("F3", "B", "XYZ-P90", 4, 1.0, 5),
    bought("F4", "P", "XYZ", 1_000, 100.0, 5),
    bought("F5", "P", "XYZ-P90", 10, 1.0, 5),
    bought("F6", "H", "XYZ", 100, 100.0, 5),
    bought("F7", "B", "ABC", 20, 50.0, 5),
    quote("XYZ", 94.0, 20),
    quote("XYZ-P95", 4.5, 20),
    quote("XYZ-P90", 2.2, 20),
    quote("ABC", 45.0, 20),
)


@pytest.fixture(scope="module")
def replayed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The day, and what its replay put out."""
    root = tmp_path_factory.mktemp("orders")
    day, out = root / "day", root / "out"
    opens = dt.datetime(2026, 6, 15, 13, 30, tzinfo=dt.UTC)
    hour = opens + dt.timedelta(hours=1)
    write_manifest(
        day,
        Manifest(
            business_date=opens.date(), interval_ms=60_000, opens_at=opens, closes_at=hour, rulebooks=["finra-4210"]
        ),
    )
    for topic in {BY_RECORD[type(record)] for record in RECORDS}:
        write_topic(day, topic, [record for record in RECORDS if BY_RECORD[type(record)] is topic])
    replay(day, out, ENGINE.options(Run()))
    return day, out


def run(replayed: tuple[Path, Path], account: str, *legs: str, options: tuple[str, ...] = ()) -> Any:
    day, out = replayed
    given = [word for leg in legs for word in ("--leg", leg)]
    return CliRunner().invoke(app, ["check-order", account, *given, "--out", str(out), "--day", str(day), *options])


def answer(replayed: tuple[Path, Path], account: str, *legs: str) -> dict[str, Any]:
    done = run(replayed, account, *legs, options=("--json",))
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)  # type: ignore[no-any-return]


def states(out: Path) -> dict[str, AccountState]:
    """The last of each account."""
    lines = (out / f"{ACCOUNTS_STATE.name}.jsonl").read_bytes().splitlines()
    return {state.account_id: state for state in (from_json(AccountState, line) for line in lines)}


# A replay.


def test_an_answer_as_json(replayed: tuple[Path, Path]) -> None:
    found = answer(replayed, "A", "-100 XYZ @ 94.5")
    assert (found["admitted"], found["rule"], found["level"]) == (True, "MARGIN", "NONE")
    assert (found["as_of"], found["rulebook"]) == ("2026-06-15T14:30:00Z", FINRA.label)
    # 200 at 94, paid in full; 0.5 a share is gained, and 9.45 and a dollar are paid.
    assert found["before"]["equity"] == 18_800
    assert (found["costs"], found["after"]["equity"], found["after"]["requirement"]) == (10.45, 18_839.55, 2_350)
    assert found["after"]["reg_t_excess"] == 18_839.55 - 4_700
    assert found["after"]["initial_requirement"] == 4_700
    assert found["prices"] == [
        {"symbol": "XYZ", "price": 94.0, "as_of": found["as_of"], "source": "accounts.state.v1", "state": "LIVE"}
    ]
    assert found["legs"] == [{"symbol": "XYZ", "quantity": -100, "price": 94.5}]


@pytest.mark.parametrize("account", ["A", "B", "P", "H"])
def test_the_figures_before_are_those_published(replayed: tuple[Path, Path], account: str) -> None:
    state = states(replayed[1])[account]
    found = answer(replayed, account, "1 ABC")
    published = [amount / 10_000 for amount in (state.equity, state.requirement, state.excess)]
    assert [found["before"][name] for name in ("equity", "requirement", "excess")] == published


def test_of_a_generated_day_too(tmp_path: Path) -> None:
    day, out = tmp_path / "day", tmp_path / "out"
    write_day(day, scenario="crash", accounts=6, symbols=6, seed=7, interval_ms=300_000, options=True)
    replay(day, out, ENGINE.options(Run()))
    regimes = set()
    for account, state in states(out).items():
        desk = OrderDesk([FINRA])
        desk.take(of_replay(out, day, account, {"SPY"}))
        before = desk.check(account, [Leg("SPY", MILLION)]).answer.before
        assert (before.equity, before.requirement) == (state.equity, state.requirement), account
        regimes.add(state.margin_type)
    assert regimes == {"STRATEGY", "PORTFOLIO"}


def test_a_called_account_may_close_its_spread_but_not_leg_out(replayed: tuple[Path, Path]) -> None:
    assert states(replayed[1])["B"].level in ("MARGIN_CALL", "RESTRICTION", "LIQUIDATION")
    assert answer(replayed, "B", "4 XYZ-P95", "-4 XYZ-P90")["admitted"]
    leg = answer(replayed, "B", "-4 XYZ-P90")
    assert not leg["admitted"]
    assert leg["reason"].startswith("close-only at ")
    assert "the requirement would rise" in leg["reason"]
    assert not answer(replayed, "B", "10 ABC")["admitted"]


def test_what_is_not_held_is_priced_by_the_market_or_the_order(replayed: tuple[Path, Path]) -> None:
    (held, other, new) = answer(replayed, "A", "10 ABC", "5 NEW @ 12")["prices"]
    assert (held["symbol"], other["price"], other["as_of"], other["source"]) == (
        "XYZ",
        45,
        "2026-06-15T13:50:00Z",
        "prices.v1",
    )
    assert (new["price"], new["as_of"], new["source"]) == (12, None, "order")
    *_, spot = answer(replayed, "B", "-1 XYZ-P85 @ 0.45")["prices"]
    assert (spot["symbol"], spot["price"], spot["source"]) == ("XYZ", 94, "prices.v1")


def test_the_answer_as_tables(replayed: tuple[Path, Path]) -> None:
    done = run(replayed, "B", "-1 XYZ-P85 @ 0.45")
    assert done.exit_code == 0, done.output
    for text in (
        "refused: close-only at",
        "Reg T excess",
        "prices.v1",
        "as of",
        FINRA.label,
        "-1",
        "0.4500",
        "94.0000",
    ):
        assert text in done.output


@pytest.mark.parametrize(
    ("account", "leg", "said"),
    [
        ("Z", "1 XYZ", "account Z: expected its state in accounts.state.v1, found none; check its id"),
        ("A", "5 NEW", "NEW has no price: give one with '@ price', as in '-50 AAPL @ 249.5'"),
        ("A", "5 NWE @ 12", "NWE: expected a symbol of instruments.v1 or prices.v1, or one that is held, found none"),
        ("A", "1 SPX @ 5000", "SPX is an index, which cannot be held"),
        ("A", "0.5 XYZ-P90", "XYZ-P90: expected whole contracts, found 0.5"),
        ("A", "XYZ @ 94", "leg: expected '-1 XYZ-P95 @ 2.10' or '-50 AAPL', found 'XYZ @ 94'"),
        ("A", "1..5 XYZ", "leg: expected '-1 XYZ-P95 @ 2.10' or '-50 AAPL', expected a decimal number, found '1..5'"),
        ("A", "0 XYZ", "leg: expected a quantity and a price other than zero, found '0 XYZ'"),
    ],
)
def test_what_cannot_be_checked_is_said(replayed: tuple[Path, Path], account: str, leg: str, said: str) -> None:
    done = run(replayed, account, leg)
    assert done.exit_code == 1
    assert said in " ".join(done.output.split())


def test_another_rulebook_is_said(replayed: tuple[Path, Path]) -> None:
    done = run(replayed, "A", "1 XYZ", options=("--rules", "house-example"))
    assert done.exit_code == 1
    said = f"account A: its state is by rulebook {FINRA.label}, found {load_rulebook('house-example').label}; name"
    assert said in " ".join(done.output.split())


def test_it_must_be_a_replay_or_a_live_job() -> None:
    assert CliRunner().invoke(app, ["check-order", "A", "--leg", "1 XYZ", "--out", "out"]).exit_code == 2
    assert CliRunner().invoke(app, ["check-order", "A", "--leg", "1 XYZ"]).exit_code == 2


@pytest.mark.parametrize(
    ("text", "leg"),
    [
        ("-1 XYZ-P95 @ 2.10", Leg("XYZ-P95", -MILLION, 2.1)),
        ("+1.5 AAPL", Leg("AAPL", 1_500_000)),
        (" 2 XYZ   260918P00095000 @ 3 ", Leg("XYZ   260918P00095000", 2 * MILLION, 3.0)),
    ],
)
def test_a_leg_is_read(text: str, leg: Leg) -> None:
    assert leg_of(text) == leg


# A desk.


def standing(account: str = "A", level: Level = "NONE", number: float = 10, **fields: Any) -> AccountState:
    given: dict[str, Any] = {"cash": Money(10_000 * 10**4), "margin_type": "STRATEGY", "rulebook": FINRA.label} | fields
    held = PricedPosition(symbol="XYZ", quantity=Quantity(100 * MILLION), price=100.0, state="LIVE")
    return AccountState(
        account_id=account,
        as_of=minute(number),
        level=level,
        since=None,
        deficient_since=None,
        equity=Money(0),
        requirement=Money(0),
        excess=Money(0),
        open_events=(),
        **{"positions": (held,), **given},
    )


def equity(desk: OrderDesk) -> float:
    return desk.check("A", [Leg("XYZ", MILLION)]).answer.before.equity / 10_000


def test_a_desk_takes_newer_records_in_any_order() -> None:
    desk = OrderDesk([FINRA])
    desk.take([standing()])
    assert equity(desk) == 20_000
    # A quote of before the state says nothing new, a later one does, and one in between does not.
    for number, price, expected in ((9, 50.0, 20_000), (12, 110.0, 21_000), (11, 70.0, 21_000)):
        desk.take([quote("XYZ", price, number)])
        assert equity(desk) == expected
    desk.take([standing(number=9, cash=Money(0))])
    assert equity(desk) == 21_000
    desk.take([standing(number=13, cash=Money(0))])
    assert equity(desk) == 10_000
    assert desk.check("A", [Leg("XYZ", MILLION)]).as_of == minute(13)


def test_a_desk_learns_of_new_symbols_and_terms() -> None:
    desk = OrderDesk([FINRA])
    desk.take([standing()])
    with pytest.raises(OrderError, match="XYZ-P90: expected a symbol of instruments"):
        desk.check("A", [Leg("XYZ-P90", -MILLION, 1.0)])
    desk.take([put(90), quote("XYZ-P90", 1.0, 12)])
    sold = desk.check("A", [Leg("XYZ-P90", -MILLION)])
    # 1 + 20% of 100 less 10 that it is out of the money, times 100; XYZ is held, and so quoted.
    assert sold.answer.after.requirement - sold.answer.before.requirement == 1_100 * 10**4
    desk.take([Instrument(symbol="XYZ", margin_eligible=False)])
    assert desk.check("A", [Leg("XYZ", MILLION)]).answer.before.requirement == 10_000 * 10**4


def test_a_level_is_close_only() -> None:
    desk = OrderDesk([FINRA])
    desk.take([standing("A", "WARNING"), standing("B", "RESTRICTION")])
    assert [desk.check(own, [Leg("XYZ", MILLION)]).answer.admitted for own in "AB"] == [True, False]


def test_the_house_rate_of_an_account_counts() -> None:
    desk = OrderDesk([FINRA])
    desk.take([standing(house_long_rate=0.75)])
    assert desk.check("A", [Leg("XYZ", MILLION)]).answer.before.requirement == 7_500 * 10**4


def test_a_state_that_does_not_say_enough_is_refused() -> None:
    desk = OrderDesk([FINRA])
    desk.take([standing(cash=None, margin_type=None)])
    with pytest.raises(OrderError, match=r"expected cash and margin_type in its state .* an earlier version"):
        equity(desk)
    assert from_json(AccountState, to_json(standing())).cash == 10_000 * 10**4


def test_what_is_held_without_a_price_is_left_out_and_said() -> None:
    old = PricedPosition(symbol="OLD", quantity=Quantity(5 * MILLION), price=0.0, state="MISSING")
    desk = OrderDesk([FINRA])
    desk.take([standing(positions=(*standing().positions, old))])
    found = desk.check("A", [Leg("XYZ", MILLION)]).document()
    assert (found["unpriced"], found["before"]["equity"]) == (["OLD"], 20_000)
    # The order's own price is then what it is valued at, before as after.
    sold = desk.check("A", [Leg("OLD", -5 * MILLION, 2.0)]).document()
    assert (sold["unpriced"], sold["before"]["equity"], sold["after"]["equity"]) == ([], 20_010, 20_010 - 1.01)


def test_an_option_cannot_be_ordered_under_the_seed_or_after_it_expired_or_without_its_spot() -> None:
    seed = load_rulebook("seed")
    desk = OrderDesk([FINRA, seed])
    gone = msgspec.structs.replace(put(90), symbol="GONE", expiry=minute(5))
    far = msgspec.structs.replace(put(90), symbol="FAR", underlying="FARAWAY")
    desk.take([standing(), standing("S", rulebook=seed.label), put(90), gone, far])
    for account, symbol, said in (
        ("S", "XYZ-P90", "XYZ-P90 is an option, and rulebook seed has no rule for options"),
        ("A", "GONE", "GONE expired at 2026-06-15T13:35:00Z"),
        ("A", "FAR", "FAR: FARAWAY has no price in prices.v1"),
    ):
        with pytest.raises(OrderError, match=said):
            desk.check(account, [Leg(symbol, MILLION, 1.0)])
    assert desk.check("S", [Leg("XYZ", MILLION)]).answer.after.reg_t_excess is None
    with pytest.raises(OrderError, match="expected one leg or more"):
        desk.check("A", [])


# A live job.


@pytest.fixture
def job() -> tuple[MockBroker, LiveJob]:
    """A broker with the topics that are read, and the job that names it."""
    broker = MockBroker()
    for topic in (ACCOUNTS_STATE, INSTRUMENTS, PRICES):
        while not broker.producer.list_topics(topic.name, timeout=10).topics[topic.name].partitions:
            pass
    plan = load_live_job("live").model_copy(update={"kafka": broker.kafka, "rulebooks": ["finra-4210"]})
    return broker, plan


def publish(broker: MockBroker, records: list[Any]) -> None:
    for record in records:
        topic = BY_RECORD[type(record)]
        broker.producer.produce(topic.name, to_json(record), str(getattr(record, topic.key)).encode())
    assert broker.producer.flush(10) == 0


def test_a_live_job_is_read_to_its_end(job: tuple[MockBroker, LiveJob]) -> None:
    broker, plan = job
    first, last = standing(), standing(number=20, level="MARGIN_CALL")
    publish(broker, [first, standing("B"), last, put(90), quote("XYZ-P90", 1.0, 12), quote("XYZ", 90.0, 25)])
    publish(broker, [quote("OTHER", 5.0, 12)])
    found = of_job(plan, "A", {"XYZ-P90"})
    assert found[0] == last
    assert {record.symbol for record in found[1:] if isinstance(record, Price)} == {"XYZ", "XYZ-P90"}
    desk = OrderDesk([FINRA])
    desk.take(found)
    checked = desk.check("A", [leg_of("-1 XYZ-P90")])
    assert (checked.answer.before.equity, checked.answer.admitted) == (19_000 * 10**4, False)
    assert of_job(plan, "Z", set()) == []


def test_the_partition_of_an_account_is_that_of_the_sink(job: tuple[MockBroker, LiveJob]) -> None:
    broker, plan = job
    accounts = [f"ACC{number:05}" for number in range(20)]
    publish(broker, [standing(account) for account in accounts])
    sent = {str(m.key(), "utf-8"): m.partition() for m in broker.records(ACCOUNTS_STATE.name)}
    assert sent == {account: partition_of(account, PARTITIONS) for account in accounts}
    # Where partitions were added since, or another producer has another mind, the rest is looked through.
    wrong = (partition_of("MOVED", PARTITIONS) + 1) % PARTITIONS
    broker.producer.produce(ACCOUNTS_STATE.name, to_json(standing("MOVED")), b"MOVED", partition=wrong)
    assert broker.producer.flush(10) == 0
    assert of_job(plan, "MOVED", set())[0] == standing("MOVED")


def test_the_command_reads_a_live_job(job: tuple[MockBroker, LiveJob], monkeypatch: pytest.MonkeyPatch) -> None:
    broker, plan = job
    publish(broker, [standing()])
    monkeypatch.setattr("pipeline.job.load_live_job", lambda _: plan)
    done = CliRunner().invoke(app, ["check-order", "A", "--leg", "-100 XYZ", "--job", "live", "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["admitted"] is True

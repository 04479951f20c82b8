"""Bars to records: by hand on a tiny CSV, and against known facts of real days where the market data is at hand."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from ops import bars, real
from ops.bars import History
from schemas import topics
from schemas.codec import from_json
from schemas.inputs import Beta, Fill, Instrument, Price
from schemas.scalars import Time

MINUTES = "date,ms_since_midnight_new_york,symbol,open,high,low,close,volume"
DAILY = "date,symbol,open,high,low,close,volume"
FACTORS = "symbol,date,price_factor,split_factor,reference_price"
needs_data = pytest.mark.skipif(not real.DATA.is_dir(), reason=f"the real market data is absent: {real.DATA}")
DAY = dt.date(2013, 10, 10)


@pytest.fixture(scope="module")
def history() -> History:
    return real.load()


def records(folder: Path, topic: topics.Topic) -> list:
    return [from_json(topic.record, line) for line in (folder / f"{topic.name}.jsonl").read_bytes().splitlines()]


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def daily_file(path: Path, count: int = 80) -> Path:
    """SPY alternates +1% and -1%; ABC moves twice as much, and splits 2:1 on the last day."""
    lines, spy, abc, day = [DAILY], 100.0, 50.0, dt.date(2024, 1, 1)
    for number in range(count):
        move = 0.01 if number % 2 else -0.01
        spy, abc = spy * (1 + move), abc * (1 + 2 * move)
        raw = abc / 2 if number == count - 1 else abc
        for symbol, price in (("ABC", raw), ("SPY", spy)):
            lines.append(f"{day + dt.timedelta(number)},{symbol},{price},{price * 1.1},{price * 0.9},{price},1000")
    return write(path, *lines)


def test_minute_bars_become_live_prices_as_of_their_end(tmp_path: Path) -> None:
    file = write(
        tmp_path / "m.csv",
        MINUTES,
        "2024-07-01,34140000,ABC,1,1,1,9.0,10",  # 09:29: before the session
        "2024-07-01,34200000,ABC,10,11,9,10.5,100",
        "2024-07-01,57540000,ABC,10,11,9,10.7,100",
        "2024-07-01,57600000,ABC,1,1,1,9.1,10",  # 16:00: after it
    )
    counts = bars.convert([file], tmp_path / "day")
    prices: list[Price] = records(tmp_path / "day", topics.PRICES)
    assert counts == {"prices.v1": 2, "betas.v1": 0, "instruments.v1": 1}
    assert [(p.price, p.as_of.text(), p.status, p.source) for p in prices] == [
        (10.5, "2024-07-01T13:31:00Z", "LIVE", "BARS"),
        (10.7, "2024-07-01T20:00:00Z", "LIVE", "BARS"),
    ]
    assert all(p.arrived_at == p.as_of + 100_000 for p in prices)
    assert records(tmp_path / "day", topics.INSTRUMENTS)[0].symbol == "ABC"


def test_a_daily_bar_becomes_a_path_and_returns_see_no_split(tmp_path: Path) -> None:
    daily = daily_file(tmp_path / "d.csv")
    # As in the real file, the line break between two symbols is missing.
    factors = write(tmp_path / "f.csv", FACTORS, "ABC,20240319,1,0.5,1\nABC,20501231,1,1,0SPY,20240101,1,1,1")
    day, out = dt.date(2024, 3, 21), tmp_path / "day"
    bars.convert([daily, factors], out, dt.date(2024, 3, 20))
    prices = [p for p in records(out, topics.PRICES) if p.symbol == "ABC"]
    history = bars.read([daily, factors])
    before, split = (history.daily["ABC"][at].close for at in (-2, -1))
    assert history.split_ratio("ABC", dt.date(2024, 3, 20)) == 2.0
    assert history.split_ratio("SPY", dt.date(2024, 3, 20)) == history.split_ratio("ABC", day) == 1.0
    assert (prices[0].status, prices[0].price) == ("CLOSE", pytest.approx(before / 2, abs=1e-6))
    said = [p for p in prices if p.source == "BARS" and p.status == "LIVE"]
    expected = [split, split * 0.9, split * 1.1, split]
    assert [p.as_of.text()[11:16] for p in said] == ["13:30", "15:30", "18:00", "20:00"]
    assert [p.price for p in said] == pytest.approx(expected, abs=1e-4)
    beta = history.beta("ABC", day, window=70)
    assert beta == Beta(
        symbol="ABC",
        beta=pytest.approx(2.0, abs=1e-6),
        effective_at=Time.parse("2024-03-21T13:25:00Z"),
        window=70,
        observations=70,
        standard_error=pytest.approx(0.0, abs=1e-3),
        arrived_at=Time.parse("2024-03-21T13:25:00.100Z"),
    )
    assert history.beta("ABC", dt.date(2024, 2, 1)) is None


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expected a header"):
        bars.read([write(tmp_path / "a.csv", "date,price")])
    with pytest.raises(ValueError, match=r"b.csv:3: could not convert"):
        bars.read([write(tmp_path / "b.csv", DAILY, "2024-01-01,SPY,1,1,1,1,1", "2024-01-02,SPY,1,1,1,x,1")])
    with pytest.raises(real.MarketDataError, match="expected the real market data"):
        real.write_real_day(tmp_path / "day", tmp_path / "absent", DAY)


def test_a_ticker_that_comes_back_is_another_security() -> None:
    history = History()
    for number, gap in enumerate([0, 1, 2, 400, 401, 402]):
        date = dt.date(2020, 1, 1) + dt.timedelta(gap)
        history.daily["SPY"].append(bars.Bar(date, 0, 10 + number, 10 + number, 10 + number, 10 + number, 1))
    assert list(history.returns("SPY", dt.date(2022, 1, 1)).values()) == [14 / 13 - 1, 15 / 14 - 1]


@needs_data
def test_returns_across_a_real_split_are_adjusted(history: History) -> None:
    before, day = dt.date(2014, 6, 6), dt.date(2014, 6, 9)
    adjusted = history.returns("AAPL", dt.date(2014, 6, 10))[before, day]
    closes = {bar.date: bar.close for bar in history.daily["AAPL"]}
    assert closes[day] / closes[before] - 1 == pytest.approx(-0.855, abs=0.01)
    assert adjusted == pytest.approx(0.016, abs=0.002)
    assert history.split_ratio("AAPL", day) == 7.0
    assert history.split_ratio("AAPL", dt.date(2020, 8, 31)) == 4.0
    assert history.split_ratio("AIG", dt.date(2009, 7, 1)) == 0.05
    assert history.split_ratio("AAPL", before) == 1.0


@needs_data
def test_a_position_held_over_a_split_keeps_its_value(history: History, tmp_path: Path) -> None:
    day = dt.date(2014, 6, 9)
    real.write_real_day(tmp_path, real.DATA, day, accounts=40, history=history)
    fills = [f for f in records(tmp_path, topics.FILLS) if f.symbol == "AAPL" and f.executed_at < f.arrived_at - 10**9]
    assert fills
    assert {f.price for f in fills} == {round(645.57 / 7, 6)}
    assert all(f.quantity % 7_000_000 == 0 for f in fills)
    closing = next(p for p in records(tmp_path, topics.PRICES) if p.symbol == "AAPL")
    assert (closing.price, closing.status) == (round(645.57 / 7, 6), "CLOSE")


@needs_data
@pytest.mark.parametrize(
    ("symbol", "day", "low", "high"),
    [("AAPL", "2020-03-16", 0.9, 1.3), ("SPY", "2020-03-16", 1.0, 1.0), ("BAC", "2013-10-10", 1.5, 2.3)],
)
def test_betas_are_sane(history: History, symbol: str, day: str, low: float, high: float) -> None:
    beta = history.beta(symbol, dt.date.fromisoformat(day))
    assert beta is not None
    assert low <= beta.beta <= high
    assert (beta.window, beta.observations) == (2520, 2520)
    year = history.beta(symbol, dt.date.fromisoformat(day), window=252)
    assert year is not None
    assert year.observations == 252


@needs_data
def test_data_errors_are_no_returns(history: History) -> None:
    """GOOG became another class of share, which the factors do not say; WM was Washington Mutual until 2008."""
    spans = {to: value for (_, to), value in history.returns("GOOG", dt.date(2014, 5, 1)).items()}
    assert dt.date(2014, 4, 2) in spans
    assert dt.date(2014, 4, 3) not in spans
    assert history.split_ratio("USO", dt.date(2020, 4, 29)) == 0.125
    assert history.split_ratio("BNO", dt.date(2013, 8, 29)) == 2.0
    assert min(span[0] for span in history.returns("WM", dt.date(2020, 1, 1))) >= dt.date(2009, 8, 5)


@needs_data
@pytest.mark.parametrize(
    ("text", "fall", "opens"),
    [("2020-03-16", (-0.12, -0.10), "13:25:00"), ("2008-10-15", (-0.10, -0.09), "13:25:00")],
)
def test_spy_falls_on_the_crash_days(
    history: History, tmp_path: Path, text: str, fall: tuple[float, float], opens: str
) -> None:
    real.write_real_day(tmp_path, real.DATA, dt.date.fromisoformat(text), accounts=5, history=history)
    prices = [p for p in records(tmp_path, topics.PRICES) if p.symbol == "SPY"]
    live = [p for p in prices if p.status == "LIVE"]
    assert (prices[0].status, len(live)) == ("CLOSE", 79)
    assert fall[0] < live[-1].price / prices[0].price - 1 < fall[1]
    assert prices[0].arrived_at == Time.parse(f"{text}T{opens}.100Z")


@needs_data
def test_minute_days_lie_inside_the_session(history: History, tmp_path: Path) -> None:
    real.write_real_day(tmp_path, real.DATA, DAY, accounts=20, history=history)
    prices = [p for p in records(tmp_path, topics.PRICES) if p.status == "LIVE"]
    assert {symbol: sum(p.symbol == symbol for p in prices) for symbol in ("AIG", "BAC", "IBM", "SPY")} == {
        "AIG": 390,
        "BAC": 390,
        "IBM": 390,
        "SPY": 390,
    }
    assert min(p.as_of for p in prices) == Time.parse("2013-10-10T13:31:00Z")
    assert max(p.as_of for p in prices) == Time.parse("2013-10-10T20:00:00Z")
    fills: list[Fill] = records(tmp_path, topics.FILLS)
    opening = {s: history.session(s, DAY)[0].open for s in history.symbols(DAY)}
    bought = [f for f in fills if f.executed_at >= Time.parse("2013-10-10T13:30:00Z")]
    assert bought
    assert all(f.price == opening[f.symbol] for f in bought)
    instruments: list[Instrument] = records(tmp_path, topics.INSTRUMENTS)
    assert {i.symbol: i.type for i in instruments}["SPY"] == "ETF"


def test_new_york_saves_daylight() -> None:
    assert bars.new_york(dt.date(2013, 10, 10), bars.OPEN).text() == "2013-10-10T13:30:00Z"
    assert bars.new_york(dt.date(2013, 12, 10), bars.OPEN).text() == "2013-12-10T14:30:00Z"


def test_the_days_may_follow_the_options_as_in_the_makefile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "sys.argv", ["real", str(tmp_path), "--data", str(tmp_path / "none"), "2013-10-04", "2013-10-07"]
    )
    assert real.main() == 1
    assert "expected the real market data" in capsys.readouterr().err

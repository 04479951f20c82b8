"""Rulebooks: how they layer, what is refused and how it is said, and a change of rules in the middle of a day."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, get_type_hints

import msgspec
import pytest
import yaml
from hypothesis import given, settings

from pipeline.configuration import ConfigurationError
from pipeline.replay import monitor_of
from pipeline.rules import SECTIONS, load_rulebook, load_rulebooks, sources_of
from risk import rulebook
from risk.rulebook import Rulebook, rulebook_at
from schemas.inputs import Account, Beta, Fill, Input, Instrument
from schemas.scalars import Quantity, Time
from tests import days
from tests.days import CLOSES, INTERVAL_MS, MANIFEST, at
from tests.transforms.test_option_days import quote

CONF = Path(__file__).parents[2] / "conf" / "rules"
FINRA = load_rulebook("finra-4210")
FINRA_POINTS = {name: list(points) for name, points in FINRA.portfolio.points.items()} if FINRA.portfolio else {}
SOURCE = "house: a source of the test"
Sections = dict[str, dict[str, Any]]
Write = Callable[..., str]


def stated(parameters: dict[str, Any]) -> dict[str, Any]:
    return {name: {"value": value, "source": SOURCE} for name, value in parameters.items()}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a house book of parameters by section, and gives its path."""

    def written(name: str, sections: Sections, *, on: str = "finra-4210", effective: str = "2026-06-04") -> str:
        head = {"name": name, "layers_on": on, "effective_at": f"{effective}T00:00:00Z"}
        body = {section: stated(parameters) for section, parameters in sections.items()}
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(head | body, sort_keys=False))
        return str(path)

    return written


def refusal(name: str) -> str:
    with pytest.raises(ConfigurationError) as error:
        load_rulebook(name)
    return str(error.value)


def test_a_house_book_replaces_parameters_by_name_and_nothing_else(write: Write) -> None:
    own = {"parameters": {"long_rate": 0.35}, "stock": {"per_share": 6.0}, "house": {"short_rate": 0.4}}
    found = load_rulebook(write("firm", own))
    assert FINRA.stock is not None
    assert found == dataclasses.replace(
        FINRA,
        name="firm",
        version=found.version,
        long_rate=0.35,
        stock=dataclasses.replace(FINRA.stock, per_share=6.0),
        house=dataclasses.replace(FINRA.house, short_rate=0.4),
    )


def test_layers_may_be_several_deep(write: Write) -> None:
    firm = write("firm", {"parameters": {"long_rate": 0.35, "short_rate": 0.40}})
    desk = write("desk", {"parameters": {"long_rate": 0.45}}, on=firm)
    found = load_rulebook(desk)
    assert (found.name, found.long_rate, found.short_rate, found.options) == ("desk", 0.45, 0.40, FINRA.options)


def test_the_version_is_of_the_texts_of_all_layers(write: Write, tmp_path: Path) -> None:
    base = tmp_path / "base.yaml"
    base.write_text((CONF / "finra-4210.yaml").read_text())
    assert load_rulebook(str(base)).label == FINRA.label
    firm = write("firm", {}, on=str(base))
    versions = [load_rulebook(firm).version, load_rulebook(firm).version]
    for path in (base, Path(firm)):
        path.write_text(path.read_text() + "# a comment\n")
        versions.append(load_rulebook(firm).version)
    assert versions[0] == versions[1]
    assert len({FINRA.version, *versions}) == 4


def test_a_book_takes_effect_no_earlier_than_the_one_below(write: Write) -> None:
    assert load_rulebook(write("same", {})).effective_at == FINRA.effective_at
    found = refusal(write("early", {}, effective="2026-06-03"))
    assert "early.yaml: effective_at: expected at or after 2026-06-04" in found
    assert "finra-4210" in found


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_circle_is_refused(write: Write, tmp_path: Path, length: int) -> None:
    paths = [str(tmp_path / f"book{number}.yaml") for number in range(length)]
    for number in range(length):
        write(f"book{number}", {}, on=paths[(number + 1) % length])
    for path in paths:
        assert "layers_on: expected no circle" in refusal(path)


def test_an_unknown_base_is_named(write: Write) -> None:
    found = refusal(write("firm", {}, on="finra-4211"))
    assert "finra-4211" in found
    assert "known: finra-4210, house-example, seed" in found


@pytest.mark.parametrize("section", ["parameters", *SECTIONS])
def test_an_unknown_name_or_section_is_refused_with_the_known_ones(write: Write, section: str) -> None:
    found = refusal(write("firm", {section: {"long_rat": 0.3}}))
    where = "" if section == "parameters" else f"{section}."
    kind = getattr(rulebook, f"{section.title().removesuffix('s')}Rules", Rulebook)
    names = sorted(name for name in get_type_hints(kind) if section != "parameters" or name not in SECTIONS)
    assert f"{where}long_rat: expected one of {', '.join(names)}" in found
    assert "hose" in refusal(write("firm", {"hose": {"long_rate": 0.3}}))


@pytest.mark.parametrize("source", [{}, {"source": ""}, {"source": "short"}])
def test_a_parameter_without_a_source_is_refused(write: Write, source: dict[str, str]) -> None:
    path = Path(write("firm", {}))
    path.write_text(path.read_text() + yaml.safe_dump({"house": {"long_rate": {"value": 0.3} | source}}))
    assert "house.long_rate.source" in refusal(str(path))


@pytest.mark.parametrize(
    ("section", "name", "value"),
    [
        ("parameters", "long_rate", "a quarter"),
        ("parameters", "long_rate", None),
        ("parameters", "spy_moves", 0.08),
        ("parameters", "heartbeat", 0.5),
        ("stock", "low_price", [5.0]),
        ("stock", "type_rates", [0.01]),
        ("options", "valued_after", "nine"),
        ("options", "rates", {"equity": "a fifth"}),
        ("portfolio", "points", {"equity": 0.15}),
        ("portfolio", "class_groups", {"SPY": 1}),
        ("intraday", "cash_first", "perhaps"),
        ("house", "issuer_long", [[0.1]]),
        ("house", "symbol_rates", {"XYZ": "all of it"}),
    ],
)
def test_a_wrong_type_is_refused_by_its_field(write: Write, section: str, name: str, value: Any) -> None:
    found = refusal(write("firm", {section: {name: value}}))
    assert (name if section == "parameters" else f"{section}.{name}") in found


@pytest.mark.parametrize("name", ["price_rates", "issuer_long", "issuer_short", "liquidity", "ownership", "sector"])
@pytest.mark.parametrize("bounds", [[0.1], [0.1, 0.2], [0.2, 0.1, float("inf")], [float("inf"), 0.1]])
def test_tiers_rise_to_infinity(write: Write, name: str, bounds: list[float]) -> None:
    found = refusal(write("firm", {"house": {name: [[bound, 0.5] for bound in bounds]}}))
    assert f"house.{name}: expected rising bounds and .inf as the last one, found {bounds}" in found


@pytest.mark.parametrize(
    ("section", "parameters", "reason"),
    [
        ("parameters", {"severe_move": -0.5}, "severe_move: expected one of spy_moves"),
        ("parameters", {"warning_entry": 0.2}, "warning_release: expected at or above warning_entry"),
        ("parameters", {"call_release": 0.03}, "liquidation.buffer: expected call_release 0.03 or more"),
        ("liquidation", {"buffer": 0.01}, "liquidation.buffer: expected call_release 0.02 or more"),
        ("parameters", {"long_rate": 0.0}, "long_rate, short_rate: expected above 0"),
        ("portfolio", {"points": dict(FINRA_POINTS, equity=[-0.1, 0.1])}, "portfolio.points: expected as many"),
        ("portfolio", {"points": {"equity": [-0.1, 0.1]}}, "portfolio.points: expected broad_index, equity"),
        ("portfolio", {"class_of_group": {"SPX": "broad"}}, "portfolio.class_of_group: expected broad_index, equity"),
        ("options", {"rates": {"equity": 0.2}}, "options.rates: expected broad_index, equity"),
        ("options", {"minimums": {"equities": 0.1}}, "options.minimums: expected broad_index, equity"),
        ("stock", {"type_rates": {"FUND": 0.01}}, "stock.type_rates: expected types of instruments, found FUND"),
        ("stock", {"per_share": float("nan")}, "per_share: expected a number, found nan"),
        ("house", {"symbol_rates": {"XYZ": -0.5}}, "symbol_rates: expected no negative number, found -0.5"),
        (
            "house",
            {"liquidity": [[1.0, 0.1], [float("inf"), -0.2]]},
            "liquidity: expected no negative number, found -0.2",
        ),
        ("portfolio", {"product_group_of": {"SPX": "ELSE"}}, "portfolio.product_offsets: expected one for ELSE"),
    ],
)
def test_parameters_that_contradict_each_other_are_refused(
    write: Write, section: str, parameters: dict[str, Any], reason: str
) -> None:
    assert reason in refusal(write("firm", {section: parameters}))


def test_options_without_stock_are_refused(tmp_path: Path) -> None:
    text = (CONF / "finra-4210.yaml").read_text()
    path = tmp_path / "half.yaml"
    path.write_text(text[: text.index("stock:")] + text[text.index("options:") :])
    assert "stock, options: expected both or neither" in refusal(str(path))


def test_the_seed_has_not_changed() -> None:
    assert load_rulebook("seed").label == "seed@25222719db73"


def test_sources_are_by_section_and_name(write: Write) -> None:
    base = sources_of("finra-4210")
    found = sources_of(write("firm", {"parameters": {"long_rate": 0.35}, "house": {"short_rate": 0.4}}))
    assert found == base | {"long_rate": SOURCE, "house.short_rate": SOURCE}
    assert base["stock.per_share"].startswith("FINRA 4210(c)(3)")
    text = yaml.safe_load((CONF / "finra-4210.yaml").read_text())
    own = {f"{section}.{name}" for section in SECTIONS for name in text.get(section, {})}
    assert base.keys() == own | text["parameters"].keys()


def test_the_newest_effective_book_rules(write: Write) -> None:
    later = write("later", {}, effective="2026-07-01")
    books = load_rulebooks([later, "house-example", "seed"])
    assert [book.name for book in books] == ["seed", "house-example", "later"]
    start = books[2].effective_at
    assert [rulebook_at(books, start + later).name for later in (-1, 0, 1)] == ["house-example", "later", "later"]
    assert rulebook_at(books[1:], 0).name == "house-example"


def run(records: Sequence[Input], books: Sequence[Rulebook], shards: int = 1) -> list[days.Output]:
    """What the fold makes of a small day under rulebooks by the time of their effect."""
    monitor = monitor_of(MANIFEST, rules=["seed"], shards=1, publish_all=True)
    fold = dataclasses.replace(monitor, rulebooks=tuple(books)).fold
    parts = ([days.by_topic(mine)] for mine in days.shards_of(records, shards))
    return [output for part in parts for output in days.records_of(fold.advance(fold.start(), part, CLOSES))]


def changed_copy(base: str, effective: str) -> str:
    """The text of a book with other rates of every kind, and another time of effect."""
    for old, new in (
        ("long_rate: {value: 0.25", "long_rate: {value: 0.40"),
        ("short_rate: {value: 0.30", "short_rate: {value: 0.50"),
        ("rates: {value: {equity: 0.20", "rates: {value: {equity: 0.35"),
        ("equity: [-0.15,", "equity: [-0.21,"),
        ("2026-01-01T00:00:00Z", effective),
    ):
        assert base.count(old) >= 1
        base = base.replace(old, new, 1)
    return base


def filled(account: str, symbol: str, quantity: int, price: float) -> Fill:
    size = Quantity(quantity * 10**6)
    return Fill(fill_id=account, account_id=account, symbol=symbol, quantity=size, price=price, arrived_at=at(30))


PUT: Any = {"type": "OPTION", "underlying": "S0", "right": "PUT", "strike": 100.0, "exercise": "AMERICAN"}
DAY: list[Input] = [
    *(Account(account_id=name, arrived_at=at(1)) for name in ("LONG", "SHORT", "PUT")),
    Account(account_id="PM", margin_type="PORTFOLIO", arrived_at=at(1)),
    Instrument(symbol="P", multiplier=100.0, expiry=Time.parse("2026-04-17T20:00:00Z"), arrived_at=at(2), **PUT),
    *(quote("S0", 100.0, 5), quote("S1", 20.0, 5), quote("P", 12.0, 5, volatility=0.4)),
    *(filled("LONG", "S0", 100, 100.0), filled("SHORT", "S1", -100, 20.0), filled("PUT", "P", -1, 12.0)),
    filled("PM", "S0", 100, 100.0),
    *(quote("S0", 90.0, 300), quote("S0", 110.0, 1200)),
]


def requirement(account: str, spot: float, *, changed: bool) -> float:
    """Dollars under either book, worked by hand."""
    match account:
        case "LONG":
            return (0.40 if changed else 0.25) * spot * 100
        case "SHORT":
            return (0.50 if changed else 0.30) * 20 * 100
        case "PUT":
            return 1200 + 100 * max((0.35 if changed else 0.20) * spot - max(spot - 100, 0), 10)
    return (0.21 if changed else 0.15) * spot * 100


@pytest.mark.parametrize("effective", ["15:10:00", "15:09:00.000001", "15:05:00"])
def test_a_change_of_rules_takes_effect_at_its_instant_for_all(tmp_path: Path, effective: str) -> None:
    text = (CONF / "finra-4210.yaml").read_text().replace("2026-06-04T00:00:00Z", "2026-01-01T00:00:00Z")
    for name, own in (("old", text), ("new", changed_copy(text, f"2026-01-05T{effective}Z"))):
        (tmp_path / f"{name}.yaml").write_text(own)
    old, new = books = load_rulebooks([str(tmp_path / "new.yaml"), str(tmp_path / "old.yaml")])
    first = -(-new.effective_at // (INTERVAL_MS * 1000)) * INTERVAL_MS * 1000
    outputs = run(DAY, books)
    assert days.lines(run(DAY, books, shards=2)) == days.lines(outputs)
    seen = set()
    for topic, record in outputs:
        found: Any = record
        label = getattr(found, "rulebook", None)
        assert label is None or label == (old if found.as_of < first else new).label
        if topic == "margin.calc.v1":
            spot = 100.0 if found.as_of <= at(300) else 90.0 if found.as_of <= at(1200) else 110.0
            expected = requirement(found.account_id, spot, changed=found.as_of >= first)
            assert found.requirement == round(expected * 10**4)
            seen.add((found.as_of, found.account_id))
    assert {account for instant, account in seen if instant == first} == {"LONG", "SHORT", "PUT", "PM"}


CHANGE = at(600)
CHANGED = dataclasses.replace(days.FINRA, version="changed", effective_at=CHANGE, long_rate=0.4, short_rate=0.5)


@settings(max_examples=12)
@given(days.days())
def test_before_a_change_all_is_as_without_it_and_then_as_under_the_new_rules(day: list[Input]) -> None:
    alone = dataclasses.replace(CHANGED, effective_at=0)
    runs = [run(day, books) for books in ((days.FINRA, CHANGED), (days.FINRA,), (alone,))]
    early = [[(topic, own) for topic, own in found if getattr(own, "as_of", CLOSES) < CHANGE] for found in runs]
    assert days.lines(early[0]) == days.lines(early[1])
    both, _, new = map(figures, runs)
    assert all(own == new[key] for key, own in both.items() if key[1] >= CHANGE and key in new)
    assert all((account, CHANGE) in both for account, instant in both if instant < CHANGE)


def figures(outputs: list[days.Output]) -> dict[tuple[str, int], msgspec.Struct]:
    """By account and instant. Why they were published depends on what was before."""
    found: list[Any] = [record for topic, record in outputs if topic == "margin.calc.v1"]
    plain = ((own, msgspec.structs.replace(own, event_id="", published_for="ALL")) for own in found)
    return {(own.account_id, own.as_of): same for own, same in plain}


@pytest.mark.parametrize(("beta", "exposure"), [(0.4, 1.0), (-0.4, -1.0), (1.8, 1.8)])
def test_an_old_beta_counts_as_defaulted_from_its_day_on(beta: float, exposure: float) -> None:
    """With no record of its own: when it turns old is a deadline."""
    old_at = at(600)
    told = Beta(symbol="S0", beta=beta, effective_at=Time(old_at - 35 * 86_400 * 10**6), arrived_at=at(2))
    held = [Account(account_id="A", arrived_at=at(1)), filled("A", "S0", 100, 50.0), quote("S0", 50.0, 5)]
    found: dict[str, dict[int, Any]] = {"margin.calc.v1": {}, "stress.beta_spy.v1": {}}
    for topic, record in run([*held, told], [days.FINRA]):
        found.get(topic, {})[getattr(record, "as_of", 0)] = record
    assert {at(60), old_at, CLOSES} <= set(found["margin.calc.v1"])
    for instant, record in found["margin.calc.v1"].items():
        assert float(record.defaulted_share) == (10**6 if instant >= old_at else 0)
    by_instant = {at: int(own.beta_weighted_exposure) for at, own in found["stress.beta_spy.v1"].items()}
    assert by_instant[at(60)] == round(5000 * beta * 10**4)
    assert by_instant[old_at] == by_instant[CLOSES] == round(5000 * exposure * 10**4)


def test_prices_that_are_known_turn_stale_by_the_rules_in_force() -> None:
    later = dataclasses.replace(days.FINRA, version="later", effective_at=CHANGE, stale_after=60)
    day = [Account(account_id="A", arrived_at=at(1)), filled("A", "S0", 100, 50.0), quote("S0", 50.0, 500)]
    shares = {}
    for topic, record in run(day, [days.FINRA, later]):
        if topic == "margin.calc.v1":
            shares[int(record.as_of)] = int(record.stale_share)  # type: ignore[attr-defined]
    assert shares[at(540)] == 0
    assert shares[CHANGE] == 10**6

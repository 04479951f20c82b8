"""The outcome of a hand-made day, in the terminal and as a page: counts, endings, escaping, nothing fetched."""

from __future__ import annotations

import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from rich.console import Console

from ops.formats import clock, dollars, percent
from ops.outcome import Outcome, OutcomeError, read_outcome
from ops.plot import ticks
from ops.report import write_report
from ops.show import show
from schemas.codec import to_json
from schemas.inputs import OpenCall, Snapshot, Standing
from schemas.outputs import Liquidation, MarginCall, Restriction
from schemas.scalars import Money, Time
from tests.ops.folder import CALL_RULE, alert, at, consequence, money, state, write

EVIL = "A<script>&\"'[red]"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """A is called and liquidated, B called by mistake, C restricted and cured, D quiet, E carried over."""
    call_a = consequence(MarginCall, EVIL, "15:10:00", status="OPENED", amount=money(100), due_at=at("21:00:00"))
    call_b = consequence(MarginCall, "B", "15:12:00", status="OPENED", amount=money(100))
    close_only = consequence(Restriction, "C", "15:20:00", status="IMPOSED", stressed_equity=money(-5))
    sizes = {"deficiency": money(100), "market_value_to_close": money(400), "deficient_since": None}
    yesterday = consequence(MarginCall, "E", "14:00:00", status="OPENED", amount=money(7))
    records = [
        *(r for account in (EVIL, "B", "C", "D", "E") for r in state(account, "14:30:01", "NONE", 2000, 1000)),
        *state(EVIL, "15:01:00", "WARNING", 1050, 1000),
        *state(EVIL, "15:10:00", "MARGIN_CALL", 900, 1000),
        *state(EVIL, "15:40:00", "LIQUIDATION", 400, 1000),
        *state("B", "15:12:00", "MARGIN_CALL", 900, 1000),
        *state("B", "15:14:30", "NONE", 2000, 1000),
        *state("C", "15:20:00", "RESTRICTION", 1200, 1000),
        *state("C", "15:30:00", "NONE", 3000, 1000),
        alert(EVIL, "15:01:00", "NONE", "WARNING", 1050),
        alert(EVIL, "15:10:00", "WARNING", "MARGIN_CALL"),
        alert(EVIL, "15:40:00", "MARGIN_CALL", "LIQUIDATION", 400),
        alert("B", "15:12:00", "NONE", "MARGIN_CALL"),
        alert("B", "15:14:30", "MARGIN_CALL", "NONE", 2000),
        msgspec.structs.replace(alert("D", "15:15:00", "NONE", "NONE"), kind="REVIEW"),
        call_a,
        call_b,
        consequence(MarginCall, "B", "15:14:30", call_b, status="CANCELLED", amount=money(0)),
        consequence(MarginCall, "E", "15:00:00", yesterday, status="MET", amount=money(0)),
        close_only,
        consequence(Restriction, "C", "15:30:00", close_only, status="LIFTED", stressed_equity=money(2500)),
        consequence(Liquidation, EVIL, "15:40:00", status="DUE", **sizes),
    ]
    return write(tmp_path / "out", records)


@pytest.fixture
def outcome(out: Path) -> Outcome:
    return read_outcome(out)


def test_levels_reached_and_at_the_close(outcome: Outcome) -> None:
    assert outcome.highest == {EVIL: "LIQUIDATION", "B": "MARGIN_CALL", "C": "RESTRICTION", "D": "NONE", "E": "NONE"}
    assert outcome.current == {EVIL: "LIQUIDATION", "B": "NONE", "C": "NONE", "D": "NONE", "E": "NONE"}
    assert outcome.notices == {"REVIEW": 1}
    assert [alert.account_id for alert in outcome.timeline] == [EVIL, EVIL, "B", "B", EVIL]


def test_how_each_case_ended(outcome: Outcome) -> None:
    assert [(case.kind, case.account_id, case.ended, case.ended_at) for case in outcome.cases] == [
        ("WARNING", EVIL, "to MARGIN_CALL", at("15:10:00")),
        ("MARGIN_CALL", EVIL, "open", None),
        ("MARGIN_CALL", "B", "cancelled", at("15:14:30")),
        ("RESTRICTION", "C", "lifted", at("15:30:00")),
        ("LIQUIDATION", EVIL, "open", None),
    ]
    assert [case.amount for case in outcome.cases] == [None, money(100), money(100), money(-5), money(400)]
    assert outcome.carried == 1


def test_totals_every_five_minutes(outcome: Outcome) -> None:
    totals = {clock(total.at): total for total in outcome.totals}
    assert (min(totals), max(totals), len(totals)) == ("09:35:00", "10:40:00", 14)
    # An instant on the mark counts for it: A's call of 10:10:00, but not B's of 10:12:00, gone again by 10:15.
    assert totals["10:10:00"].levels == {"NONE": 4, "WARNING": 0, "MARGIN_CALL": 1, "RESTRICTION": 0, "LIQUIDATION": 0}
    assert (totals["10:10:00"].deficient, totals["10:10:00"].deficiency) == (1, money(100))
    assert (totals["10:15:00"].deficient, totals["10:15:00"].deficiency) == (1, money(100))
    assert totals["10:35:00"].levels["RESTRICTION"] == 0
    assert (totals["10:40:00"].deficient, totals["10:40:00"].deficiency) == (1, money(600))


def test_stress_uses_the_last_figures_and_puts_lost_equity_first(outcome: Outcome) -> None:
    assert outcome.severe_move == -80_000
    assert outcome.stressed[0].account_id == EVIL
    assert outcome.stressed[0].stressed_equity == money(-100)
    assert outcome.stressed[0].equity == money(400)
    assert [(rung.move, rung.pnl, rung.deficient, rung.below_zero) for rung in outcome.ladder] == [
        (-80_000, money(-2500), 1, 1),
        (0, 0, 1, 0),
        (80_000, money(2500), 1, 0),
    ]


def test_notable_accounts_are_the_cancelled_and_the_liquidated(outcome: Outcome) -> None:
    assert list(outcome.excess) == ["B", EVIL, "C"]
    assert outcome.excess["B"] == tuple(
        (at(time), money(excess)) for time, excess in (("14:30:01", 1000), ("15:12:00", -100), ("15:14:30", 1000))
    )


class Page(HTMLParser):
    """Collects tags, attributes and texts, and checks that tags close in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture
def page(out: Path, tmp_path: Path) -> str:
    write_report(out, tmp_path / "made" / "report.html")
    return (tmp_path / "made" / "report.html").read_text(encoding="utf-8")


def test_page_is_self_contained_and_well_formed(page: str) -> None:
    parsed = Page(page)
    assert parsed.open == []
    assert not {"script", "link", "img", "iframe", "object", "b<"} & set(parsed.tags)
    assert not {"src", "href", "onload"} & {name for name, _ in parsed.attributes}
    assert not re.search(r"http|//|@import|url\(", page)
    assert parsed.tags.count("svg") == 4 + 2 * 3
    assert not re.search(r"\bnan\b|\binf\b|\$[a-z_]+", page)


def test_page_escapes_what_comes_from_data(page: str) -> None:
    assert "<script" not in page
    assert "<b>WARNING" not in page
    texts = Page(page).texts
    assert EVIL in texts
    assert CALL_RULE in texts
    assert f"Excess of {EVIL}" in texts


def test_page_says_what_happened(page: str) -> None:
    texts = " ".join(Page(page).texts)
    for expected in (
        "Monday 05 January 2026",
        "test@0",
        "cancelled 10:14:30",
        "lifted 10:30:00",
        "Called: 2, of which 1",
    ):
        assert expected in texts


def rows_of(page: str, *columns: str) -> list[list[str]]:
    """The cells of the table that has such columns."""
    found = []
    for text in re.findall(r"<table>.*?</table>", page, re.DOTALL):
        rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>.*?</tr>", text)]
        if rows[0] == list(columns):
            found = [[re.sub(r"<[^>]*>", "", cell) for cell in row] for row in rows[1:]]
    return found


def step(account: str, time: str, status: str, due: float, ends: Any = None, **sums: Any) -> MarginCall:
    own = {name: money(sums.pop(name)) for name in ("called", "covered", "cancelled") if name in sums}
    sums = {"occurred_at": at("15:10:00"), **sums}
    return consequence(MarginCall, account, time, ends, status=status, amount=money(due), **own, **sums)


def test_each_call_says_what_was_called_covered_cancelled_and_is_still_due(tmp_path: Path) -> None:
    paid: Any = {"called": 150, "covered": 60.25, "by": "DEPOSIT"}
    sold: Any = {**paid, "covered": 80.5, "by": "TRADE"}
    opened = step("D", "15:10:00", "OPENED", 100)
    carried = OpenCall(
        call_id="F/MAINTENANCE",
        event_id="",
        type="MAINTENANCE",
        opened_at=Time.parse("2025-12-30T21:01:00Z"),
        due_at=Time.parse("2026-01-22T21:00:00Z"),
        initial=money(500),
        covered={"DEPOSIT": money(200)},
    )
    closing = Snapshot(
        account_id="F", as_of=at("21:00:00"), cash=Money(0), positions=(), standing=Standing(calls=(carried,))
    )
    records = [
        *(own for name in "ABCDEF" for own in state(name, "14:30:01", "NONE", 2000, 1000)),
        *state("F", "15:01:00", "MARGIN_CALL", 900, 1000),
        # F is looked at, for its call has no step today.
        consequence(Restriction, "F", "15:20:00", status="IMPOSED", stressed_equity=money(-5)),
        step("A", "15:10:00", "OPENED", 100),
        step("A", "15:20:00", "INCREASED", 150, called=150),
        step("A", "15:25:00", "COVERED", 89.75, **paid),
        step("A", "15:26:00", "COVERED", 69.5, **sold),
        step("A", "15:30:00", "REDUCED", 59.5, **{**sold, "by": None}, cancelled=10),
        step("B", "15:10:00", "OPENED", 100, type="REG_T"),
        step("B", "15:30:00", "EXTENDED", 100, type="REG_T", extended_by="<ann>, bob", due_at=at("21:30:00")),
        step("C", "15:10:00", "OPENED", 100, due_at=at("15:39:00")),
        step("C", "15:40:00", "EXPIRED", 100, due_at=at("15:39:00")),
        opened,
        step("D", "15:30:00", "CANCELLED", 0, opened, cancelled=100),
        step("E", "15:30:00", "MET", 0, covered=100, by="APPRECIATION", occurred_at=Time.parse("2026-01-02T15:00:00Z")),
    ]
    out = write(tmp_path / "out", records)
    (out / "snapshots.v1.jsonl").write_bytes(to_json(closing) + b"\n")
    write_report(out, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert Page(page).open == []
    amounts = ("called $", "covered $", "cancelled $", "still due $")
    assert rows_of(page, "time", "account", "type", *amounts[:2], "by", *amounts[2:], "due", "state") == [
        ["10:10:00", "C", "house", "100.00", "", "", "", "100.00", "05 Jan 10:39", "expired"],
        [
            *("10:10:00", "A", "house", "150.00", "80.50", "deposit 60.25, trade 20.25", "10.00", "59.50"),
            *("05 Jan 16:00", "open"),
        ],
        ["10:10:00", "B", "reg t", "100.00", "", "", "", "100.00", "05 Jan 16:30", "extended by &lt;ann&gt;, bob"],
        ["30 Dec 16:01", "F", "maintenance", "500.00", "200.00", "deposit", "", "300.00", "22 Jan 16:00", "open"],
        ["10:10:00", "D", "house", "100.00", "", "", "100.00", "", "05 Jan 16:00", "cancelled 10:30:00"],
        [
            *("02 Jan 10:00", "E", "house", "100.00", "100.00", "appreciation or before", "", "", "05 Jan 16:00"),
            "met 10:30:00",
        ],
    ]
    assert rows_of(page, "type", "calls", "with something due", *amounts) == [
        ["reg t", "1", "1", "100.00", "", "", "100.00"],
        ["maintenance", "1", "1", "500.00", "200.00", "", "300.00"],
        ["house", "4", "2", "450.00", "180.50", "110.00", "159.50"],
    ]
    texts = " ".join(Page(page).texts)
    assert "Called: 4, of which 3 open at the close. Called before, and open or ended since: 2." in texts
    # The picture of an account whose call has no step today.
    assert "maintenance $500, 300 still due 22 Jan 16:00" in texts


def test_show_prints_names_as_they_are_and_limits_rows(out: Path) -> None:
    console = Console(file=io.StringIO(), width=140)
    show(out, console, limit=1)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert EVIL in text
    assert "Called: 2, of which 1 open at the close; the first 1" in text
    assert "cancelled" not in text
    assert "lifted 10:30:00" in text
    assert CALL_RULE in text
    assert "review 1" in text


def test_a_day_on_which_nothing_happened(tmp_path: Path) -> None:
    out = write(tmp_path / "calm", state("A", "14:30:01", "NONE", 2000, 0))
    write_report(out, tmp_path / "calm.html")
    assert "None was called" in (tmp_path / "calm.html").read_text()
    show(out, Console(file=io.StringIO()))


def test_no_outputs_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OutcomeError, match="Replay a day into it first: margin replay DAY --out"):
        read_outcome(tmp_path / "missing")
    with pytest.raises(OutcomeError, match="margin replay DAY --out"):
        read_outcome(write(tmp_path / "empty", []))
    with pytest.raises(OutcomeError, match="margin replay"):
        write_report(tmp_path / "empty", tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_a_line_that_cannot_be_read_is_named(out: Path) -> None:
    path = out / "alerts.v1.jsonl"
    path.write_bytes(path.read_bytes() + b'{"event_id": 1}\n')
    with pytest.raises(OutcomeError, match=r"alerts\.v1\.jsonl, line 7: .*event_id"):
        read_outcome(out)


def test_a_file_out_of_order_is_named(out: Path) -> None:
    path = out / "margin.calc.v1.jsonl"
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[::-1]))
    with pytest.raises(OutcomeError, match=r"margin\.calc\.v1\.jsonl, line \d+: not in order"):
        read_outcome(out)


def test_formats() -> None:
    assert dollars(money(-1234567.6)) == "\N{MINUS SIGN}1,234,568"
    assert dollars(None) == ""
    assert [percent(move) for move in (-80_000, 0, 60_000)] == ["\N{MINUS SIGN}8%", "0%", "+6%"]
    assert clock(at("21:05:00")) == "16:05:00"
    assert ticks(-0.9, 2.0) == [-0.5, 0, 0.5, 1, 1.5, 2]
    assert ticks(0, 0)

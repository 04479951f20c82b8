"""An outcome as one self-contained HTML page: inline CSS, inline SVG, no script, nothing fetched."""

from __future__ import annotations

from html import escape
from pathlib import Path
from string import Template

from ops.formats import clock, dollars, new_york, percent, words
from ops.outcome import LEVELS, Outcome, read_outcome
from ops.plot import BLUE, COLOURS, HOUR, RED, Plot, hours, unit_of
from ops.tables import cases_tables, stressed_table, table, tag, timeline_table
from ops.timeline import timeline_chart

PAGE = Template("""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Margin risk report $date</title><style>
:root { color: #1f2d3d; font: 14px/1.45 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif }
body { margin: 0 auto; max-width: 1140px; padding: 28px 24px 60px; background: #fff }
header { border-bottom: 3px solid #1f2d3d; padding-bottom: 10px }
h1 { font-size: 26px; margin: 0 } h2 { font-size: 17px; margin: 34px 0 4px } p { margin: 2px 0 8px; color: #4a5a6a }
.cards { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px; margin: 18px 0 }
.card { border: 1px solid #d5dce4; border-left: 5px solid var(--c); padding: 8px 12px }
.card b { display: block; font-size: 23px; font-variant-numeric: tabular-nums } .card small { color: #4a5a6a }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 14px 20px }
.narrow { max-width: 520px }
.scroll { max-height: 430px; overflow: auto; border: 1px solid #d5dce4 }
.scroll + p, .scroll + .scroll, p + p { margin-top: 12px }
table { border-collapse: collapse; width: 100%; font-size: 13px; font-variant-numeric: tabular-nums }
th { position: sticky; top: 0; background: #eef2f6; text-align: left; font-weight: 600 }
th, td { padding: 4px 8px; border-bottom: 1px solid #e6ebf0; overflow-wrap: break-word; max-width: 380px }
.n { text-align: right } .n, .t { white-space: nowrap } .bad { color: #b2182b; font-weight: 600 }
.tag { white-space: nowrap } .tag::before { content: ""; display: inline-block; width: 9px; height: 9px;
  margin-right: 6px; background: var(--c) }
svg { display: block; width: 100%; height: auto } svg text { fill: #1f2d3d; font-size: 12px }
svg .title { font-size: 14px; font-weight: 600 } svg .soft { fill: #4a5a6a }
footer { margin-top: 30px; border-top: 1px solid #d5dce4; padding-top: 8px; color: #4a5a6a; font-size: 12px }
@media print { .scroll { max-height: none; overflow: visible } section { break-inside: avoid } }
</style></head><body>
<header><h1>Margin risk report</h1>
<p>$day, $from to $until New York &middot; rulebook $rulebook &middot; $accounts accounts</p></header>
<div class="cards">$cards</div>
<section><h2>Accounts by level</h2>$levels_chart
<div class="narrow">$levels_table</div></section>
<section><h2>Deficiency</h2>$deficiency_chart</section>
<section><h2>Stress at the close</h2>
<p>Every account's last published figures, shifted by its beta to SPY. Requirements are recomputed at each move.</p>
<div class="pair">$ladder_charts</div></section>
<section><h2>Accounts to look at</h2>$accounts_note<div class="pair">$account_charts</div></section>
<section><h2>Calls, restrictions and liquidations</h2>$cases</section>
<section><h2>Worst stressed at the close, SPY $severe</h2>
<p>First where no equity is left, then by shortfall against the recomputed requirement.</p>$stressed</section>
<section><h2>Timeline of the ladder</h2>$timeline</section>
<footer>Times are New York. Money is in US dollars. Figures hold until the next are published. $notices</footer>
</body></html>
""")


def levels_chart(outcome: Outcome) -> str:
    """Accounts at a level other than none, stacked, the most severe at the bottom."""
    totals = outcome.totals
    shown = LEVELS[:0:-1]
    most = max(max(sum(total.levels[level] for level in shown) for total in totals), 4)
    title = f"Accounts at each level, of {len(outcome.current):,}; the others are at none"
    plot = Plot(title, "time in New York", "accounts", (totals[0].at, totals[-1].at), (0, most * 1.05))
    plot.frame(hours(totals[0].at, totals[-1].at))
    below = [0] * len(totals)
    for level in shown:
        above = [base + total.levels[level] for base, total in zip(below, totals, strict=True)]
        upper = [(total.at, y) for total, y in zip(totals, above, strict=True)]
        lower = [(total.at, y) for total, y in zip(totals, below, strict=True)]
        if any(total.levels[level] for total in totals):
            plot.path(upper + lower[::-1], f'fill="{COLOURS[level]}" stroke="#fff" stroke-width="0.8"')
        below = above
    plot.legend([(COLOURS[level], words(level)) for level in shown])
    return plot.svg()


def deficiency_chart(outcome: Outcome) -> str:
    """The sum of what deficient accounts lack, with its peak named."""
    totals = outcome.totals
    scale, unit = unit_of(total.deficiency for total in totals)
    peak = max(totals, key=lambda total: total.deficiency)
    title = "Sum over deficient accounts of requirement minus equity"
    span, most = (totals[0].at, totals[-1].at), (peak.deficiency / scale or 1) * 1.2
    plot = Plot(title, "time in New York", unit, span, (0, most))
    plot.frame(hours(*span))
    line = [(total.at, total.deficiency / scale) for total in totals]
    plot.path([(line[0][0], 0), *line, (line[-1][0], 0)], f'fill="{RED}" fill-opacity="0.12"')
    plot.path(line, f'fill="none" stroke="{RED}" stroke-width="2"')
    x, y = plot.at(peak.at, peak.deficiency / scale)
    place = "start" if x < 250 else "end" if x > plot.width - 250 else "middle"
    plot.text(x, y - 8, f"peak ${dollars(peak.deficiency)}, accounts: {peak.deficient:,}, {clock(peak.at)[:5]}", place)
    return plot.svg()


def ladder_charts(outcome: Outcome) -> str:
    """The firm's P&L, and the accounts under water, at each SPY move."""
    ladder = outcome.ladder
    scale, unit = unit_of(rung.pnl for rung in ladder)
    names = [(number, percent(rung.move)) for number, rung in enumerate(ladder)]
    low, high = (bound(0.0, *(rung.pnl / scale for rung in ladder)) * 1.2 for bound in (min, max))
    pnl = Plot("Firm total P&L by SPY move", "SPY move", unit, (-0.6, len(ladder) - 0.4), (low, high or 1.0), 536)
    most = max([rung.deficient for rung in ladder] + [4]) * 1.15
    title = "Accounts under water by SPY move"
    water = Plot(title, "SPY move", "accounts", (-0.6, len(ladder) - 0.4), (0, most), 536)
    pnl.frame(names, grid=False)
    water.frame(names, grid=False)
    for number, rung in enumerate(ladder):
        value = rung.pnl / scale
        label = f"{value:+,.1f}".replace("-", "\N{MINUS SIGN}") if value else "0"
        pnl.bar(number, 34, value, BLUE if value >= 0 else RED, label)
        water.bar(number - 0.21, 22, rung.deficient, COLOURS["MARGIN_CALL"], f"{rung.deficient:,}")
        water.bar(number + 0.21, 22, rung.below_zero, COLOURS["LIQUIDATION"], f"{rung.below_zero:,}")
    water.legend([(COLOURS["MARGIN_CALL"], "below requirement"), (COLOURS["LIQUIDATION"], "below zero")])
    return f"<div>{pnl.svg()}</div><div>{water.svg()}</div>"


def account_charts(outcome: Outcome) -> str:
    """Excess through the day of the notable accounts, with every change of level; beside it their levels and calls."""
    charts = []
    for account, path in outcome.excess.items():
        scale, unit = unit_of(excess for _, excess in path)
        values = [excess / scale for _, excess in path]
        changes = [alert for alert in outcome.timeline if alert.account_id == account]
        since = min((alert.as_of for alert in changes), default=outcome.begin) - HOUR // 2
        low, high = min(0.0, *values), max([0.0, *(excess / scale for at, excess in path if at >= since)])
        pad = (high - low or 1) * 0.12
        span = (outcome.begin, outcome.end)
        plot = Plot(f"Excess of {account[:40]}", "time in New York", unit, span, (low - pad, high + pad), 536, 230)
        plot.frame(hours(*span, 2))
        until = [*(at for at, _ in path[1:]), outcome.end]
        steps = zip((at for at, _ in path), until, (min(value, high + pad) for value in values), strict=True)
        line = [(at, value) for begin, end, value in steps for at in (begin, end)]
        plot.path(line, f'fill="none" stroke="{BLUE}" stroke-width="1.6"')
        for alert in changes:
            x, y = plot.at(alert.as_of, (alert.equity - alert.requirement) / scale)
            mark = f'<circle cx="{x}" cy="{y}" r="5" fill="{COLOURS[alert.level]}" stroke="#fff" stroke-width="1.2">'
            about = escape(f"{clock(alert.as_of)} {words(alert.level)}: {alert.message}")
            plot.parts.append(f"{mark}<title>{about}</title></circle>")
        charts.append(f"<div>{plot.svg()}</div><div>{timeline_chart(outcome, account)}</div>")
    return "".join(charts)


def _cards(outcome: Outcome) -> str:
    calls, liquidations = outcome.of("MARGIN_CALL"), outcome.of("LIQUIDATION")
    last, worst = outcome.totals[-1], min(outcome.ladder, key=lambda rung: rung.pnl, default=None)
    still, due = (sum(case.ended_at is None for case in cases) for cases in (calls, liquidations))
    figures = [
        (COLOURS["MARGIN_CALL"], f"{len(calls):,}", f"margin calls; {still:,} still open"),
        (COLOURS["RESTRICTION"], f"{len(outcome.of('RESTRICTION')):,}", "restrictions to closing"),
        (COLOURS["LIQUIDATION"], f"{len(liquidations):,}", f"liquidations due; {due:,} still open"),
        (RED, f"${dollars(last.deficiency)}", f"deficiency at the close; accounts: {last.deficient:,}"),
    ]
    if worst is not None:
        pnl = f"${dollars(worst.pnl)}".replace("$\N{MINUS SIGN}", "\N{MINUS SIGN}$")
        figures.append((BLUE, pnl, f"firm P&L if SPY moves {percent(worst.move)}"))
    return "".join(
        f'<div class="card" style="--c:{colour}"><b>{number}</b><small>{escape(text)}</small></div>'
        for colour, number, text in figures
    )


def render(outcome: Outcome) -> str:
    """The page."""
    highest, current = list(outcome.highest.values()), list(outcome.current.values())
    levels = [(tag(level), f"{highest.count(level):,}", f"{current.count(level):,}") for level in LEVELS]
    notices = [f"{words(kind)} {count:,}" for kind, count in sorted(outcome.notices.items())]
    notices += [f"dead letters {outcome.dead_letters:,}", f"ended today, opened before {outcome.carried:,}"]
    note = "Excess is equity minus requirement; below zero the account is deficient. A dot is a change of level, to "
    note += (
        " ".join(tag(level) for level in LEVELS)
        + ". Higher values more than half an hour before the first dot are cut off at the top. Beside it the account's "
        "level, and each of its calls as a bar as high as what is still due, until it is due or ended, with its steps."
    )
    return PAGE.substitute(
        date=f"{new_york(outcome.begin):%Y-%m-%d}",
        day=f"{new_york(outcome.begin):%A %d %B %Y}",
        **{"from": clock(outcome.begin), "until": clock(outcome.end)},
        rulebook=escape(", ".join(outcome.rulebooks)),
        accounts=f"{len(outcome.current):,}",
        cards=_cards(outcome),
        levels_chart=levels_chart(outcome),
        deficiency_chart=deficiency_chart(outcome),
        ladder_charts=ladder_charts(outcome),
        accounts_note=f"<p>{note if outcome.excess else 'None was called, restricted or liquidated.'}</p>",
        account_charts=account_charts(outcome),
        levels_table=table(("level", "highest reached #", "at the close #"), levels),
        cases=cases_tables(outcome),
        severe=percent(outcome.severe_move),
        stressed=stressed_table(outcome),
        timeline=timeline_table(outcome),
        notices=escape("; ".join(notices).capitalize()) + ".",
    )


def write_report(out: Path, html: Path) -> None:
    """Write the report of an output folder to one HTML file. Raises OutcomeError or OSError."""
    page = render(read_outcome(out))
    html.parent.mkdir(parents=True, exist_ok=True)
    html.write_text(page, encoding="utf-8")

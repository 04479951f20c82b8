"""The tables of the page: errors, forwards, late trades, causes, margin."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from bench.chains.causes import BESIDE, misses
from bench.chains.legs import legs
from bench.chains.margins import KINDS, account, margin
from bench.chains.puts import CENTS, SHARE, Priced, cash_dividends, price_puts
from bench.chains.smile import smooth_puts
from risk.amounts import Floats

VOLUMES = ((1, 10), (10, 30), (30, 100), (100, 300), (300, 1000), (1000, np.inf))


def _table(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _spread(error: Floats, close: Floats) -> list[str]:
    """Median, 90%, 99% and worst, in dollars and in per cent; how many are within and how many beyond either."""
    size = np.abs(error)
    dollars, share = (np.quantile(one, [0.5, 0.9, 0.99, 1.0]) for one in (size, size / close))
    beyond = size > CENTS, size > SHARE * close
    miss, strict = int((beyond[0] & beyond[1]).sum()), int((beyond[0] | beyond[1]).sum())
    return [
        "; ".join(f"{one:.2f}" for one in dollars),
        "; ".join(f"{one:.1%}" for one in share),
        f"{len(size) - miss} ({1 - miss / len(size):.0%})",
        f"{len(size) - strict} ({1 - strict / len(size):.0%})",
    ]


def distribution(studies: dict[str, Priced]) -> str:
    rows = []
    for name, priced in studies.items():
        known, put = ~np.isnan(priced.error), priced.chain.close[priced.pairs[:, 1]]
        rows.append([name, len(known), int((~known).sum()), *_spread(priced.error[known], put[known])])
        if len(known) == 1:
            continue
        if not priced.chain.source.quoted:
            found, least = legs(priced), np.minimum(*priced.chain.volume[priced.pairs].T)
            for low, high in VOLUMES:
                some = known & (least >= low) & (least < high)
                size = f"{low} to {high - 1}" if high < np.inf else f"{low} and more"
                none = int((~known & (least >= low) & (least < high)).sum())
                rows.append(
                    [f"of {size} contracts a side", some.sum() + none, none, *_spread(priced.error[some], put[some])]
                )
            some = known & (np.abs(found.broken) <= CENTS)
            rows.append(
                ["within the parity bounds by 10 cents", some.sum(), 0, *_spread(priced.error[some], put[some])]
            )
        at, by_call, by_put = smooth_puts(priced)
        close = priced.chain.close[at]
        rows.append(["traded puts from the smooth volatility of calls", len(at), 0, *_spread(by_call - close, close)])
        near = np.abs(np.log(priced.chain.strike[at] / priced.parity.over(priced.chain, at))) < 0.05
        both = by_put[near], by_call[near]
        rows.append(
            ["smooth puts from smooth calls, within 5% of F", near.sum(), 0, *_spread(both[1] - both[0], both[0])]
        )
        if priced.chain.source.dividends:
            some, cash = cash_dividends(priced)
            some &= known & ~np.isnan(cash)
            rows.append(["pairs with a dividend: as a yield", some.sum(), 0, *_spread(priced.error[some], put[some])])
            rows.append(["the same: in cash (QuantLib)", some.sum(), 0, *_spread(cash[some], put[some])])
            for rate in (0.0, 2 * priced.chain.source.rate):
                again = price_puts(replace(priced.chain, source=replace(priced.chain.source, rate=rate)))
                some = ~np.isnan(again.error)
                name = f"all pairs at a rate of {rate:.2%}"
                rows.append([name, len(some), (~some).sum(), *_spread(again.error[some], put[some])])
    heads = ("pairs", "number", "no volatility", "$: median; 90%; 99%; worst", "of the put's close: the same")
    return _table((*heads, "within 10 cents or 2%", "within both"), rows)


def forwards(priced: Priced) -> str:
    """By expiry: its pairs, the forward, and what the spread of single pairs is around it."""
    chain, call = priced.chain, priced.pairs[:, 0]
    rows = []
    for day, forward in sorted(priced.parity.forward.items()):
        some = chain.expiry[call] == day
        error = np.abs(priced.error[some & ~np.isnan(priced.error)])
        middle = f"{np.median(error):.2f}" if len(error) else ""
        rows.append([day, int(some.sum()), f"{forward:.2f}", middle])
    return _table(("expiry", "pairs", "forward", "median error, $"), rows)


def lateness(priced: Priced) -> str:
    """By volume of a leg: how far from its close the stock was at the leg's last trade, by the smooth volatility."""
    rows, volume = [], priced.chain.volume[priced.pairs]
    away = np.abs(legs(priced).at - priced.parity.spot)
    for low, high in VOLUMES:
        some = (volume >= low) & (volume < high) & ~np.isnan(away)
        middle, most = np.quantile(away[some], [0.5, 0.9])
        rows.append([low, some.sum(), f"{middle:.2f}", f"{most:.2f}", f"{(away[some] <= BESIDE).mean():.0%}"])
    return _table(("contracts traded, at least", "legs", "median, $", "90%, $", "within 25 cents"), rows)


def every_miss(priced: Priced) -> str:
    rows, chain = [], priced.chain
    for row, beyond, why in misses(priced):
        call, put = priced.pairs[row]
        error = priced.error[row]
        told = (
            ["", "", ""]
            if np.isnan(error)
            else [f"{priced.value[row]:.2f}", f"{error:+.2f}", f"{error / chain.close[put]:+.1%}"]
        )
        volumes = f"{chain.volume[call]:.0f} {chain.volume[put]:.0f}"
        head = [chain.expiry[put], f"{chain.strike[put]:g}", f"{chain.close[call]:.2f}", f"{chain.close[put]:.2f}"]
        rows.append([*head, *told, beyond, volumes, f"{why.name}: {why.legs}", why.stock, why.shown])
    heads = ("expiry", "strike", "call", "put", "put by the model", "error", "of the put", "beyond", "volumes")
    return _table((*heads, "cause", "stock at", "shown by"), rows)


def causes(studies: dict[str, Priced]) -> str:
    counts: dict[tuple[str, str], list[int]] = {}
    for name, priced in studies.items():
        for _, beyond, why in misses(priced):
            count = counts.setdefault((name, f"{why.name}: {why.legs}"), [0] * 4)
            both = beyond == "both"
            for place, so in enumerate(
                (True, both, both and "p" in why.shown, both and bool(set("pn") & set(why.shown)))
            ):
                count[place] += so
    rows = [[*key, *count] for key, count in sorted(counts.items())]
    return _table(("pairs", "cause", "beyond either", "beyond both", "of these p", "of these p or n"), rows)


def margins(studies: Sequence[Priced], *, whole: bool) -> str:
    """Each account in both regimes. A whole American chain is too much for one pairing: an account an expiry."""
    rows = []
    for priced in studies:
        chain = priced.chain
        days = np.unique(chain.expiry[chain.volume > 0])
        for kind in KINDS:
            for regime in ("PORTFOLIO", "STRATEGY"):
                by_expiry = [account(priced, kind, regime, day) for day in days]
                cases = {f"{len(days)}": by_expiry}
                if regime == "PORTFOLIO" or chain.source.quoted or (whole and kind != "alternating"):
                    cases["1"] = [account(priced, kind, regime)]
                for count, documents in cases.items():
                    row: list[object] = [f"{chain.source.name}, {kind}", regime, count]
                    try:
                        found = margin(documents)
                    except RuntimeError as error:
                        rows.append([*row, f"fails: {error}", *[""] * 5])
                        continue
                    assert found.exact
                    amounts = [f"{found.requirement:,.2f}", f"{found.minimum:,.2f}", found.lines, found.pairings]
                    rows.append([*row, found.contracts, *amounts, f"{found.seconds:.1f}"])
                    print(*rows[-1], flush=True)
    heads = ("account", "regime", "accounts", "contracts", "requirement, $", "minimum charge, $", "lines", "pairings")
    return _table((*heads, "seconds"), rows)

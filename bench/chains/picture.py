"""The picture of the page: implied volatilities by strike, and errors of puts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from bench.chains.chain import LEAST_CLOSE, NEAR
from bench.chains.puts import Priced
from bench.chains.smile import fair, smooth_puts
from risk.amounts import Floats


def _panel(
    at: tuple[int, int], title: str, axes: tuple[str, str], dots: dict[str, tuple[Floats, Floats]], line: Any
) -> str:
    """A plot of 440 by 300 as SVG: dots by colour, and a line."""
    x, y = (np.concatenate([each[side] for each in dots.values()]) for side in (0, 1))
    spans = [(float(one.min()), float(one.max())) for one in (x, y)]
    place = lambda value, side: (value - spans[side][0]) / (spans[side][1] - spans[side][0] or 1.0)  # noqa: E731
    across, up = (lambda value: 50 + 370 * place(value, 0)), (lambda value: 260 - 220 * place(value, 1))
    out = [f'<g transform="translate({at[0]} {at[1]})"><text x="50" y="22" font-size="14">{title}</text>']
    out.append('<path d="M50 40V260H420" fill="none" stroke="#888"/>')
    for share in (0.0, 0.25, 0.5, 0.75, 1.0):
        one, other = (low + share * (high - low) for low, high in spans)
        out.append(f'<text x="{across(one):.0f}" y="275" text-anchor="middle">{one:.4g}</text>')
        out.append(f'<text x="45" y="{up(other) + 4:.0f}" text-anchor="end">{other:.3g}</text>')
    out.append(f'<text x="420" y="291" text-anchor="end">{axes[0]}</text><text x="50" y="37">{axes[1]}</text>')
    for number, (name, (xs, ys)) in enumerate(dots.items()):
        colour = ("#1f6fb4", "#d9541e")[number % 2]
        out += [
            f'<circle cx="{across(a):.1f}" cy="{up(b):.1f}" r="2.2" fill="{colour}" fill-opacity="0.7"/>'
            for a, b in zip(xs.tolist(), ys.tolist(), strict=True)
        ]
        out.append(f'<text x="{420 - 70 * number}" y="37" text-anchor="end" fill="{colour}">{name}</text>')
    if line is not None:
        path = " ".join(f"{across(a):.1f},{up(b):.1f}" for a, b in zip(*line, strict=True))
        out.append(f'<polyline points="{path}" fill="none" stroke="#333"/>')
    return "\n".join([*out, "</g>"])


def picture(shown: Sequence[tuple[Priced, str]]) -> str:
    """Of each chain the implied volatilities of one expiry by strike, and the errors of all of its puts."""
    parts = []
    for number, (priced, day) in enumerate(shown):
        chain, told, name = priced.chain, priced.parity, priced.chain.source.name
        forward, smooth = told.over(chain, np.arange(len(chain.close))), fair(chain, told)
        some = np.flatnonzero(chain.active & (chain.expiry == np.datetime64(day)) & (chain.close >= LEAST_CLOSE))
        some = some[np.abs(np.log(chain.strike[some] / forward[some])) < 1.5 * NEAR]
        found = chain.implied(some, told.spot, forward[some])
        some, found = some[~np.isnan(found)], found[~np.isnan(found)]
        dots = {
            side: (chain.strike[some][chain.sign[some] == sign], found[chain.sign[some] == sign])
            for side, sign in (("calls", 1.0), ("puts", -1.0))
        }
        line = chain.strike[some], smooth[some]
        parts.append(_panel((0, 310 * number), f"{name} {day}", ("strike", "implied volatility"), dots, line))
        known = ~np.isnan(priced.error)
        least = np.log10(1 + np.minimum(*chain.volume[priced.pairs[known]].T))
        errors = {"error": (least, priced.error[known])}
        if chain.source.quoted:
            at, by_call, _ = smooth_puts(priced)
            errors = {"error": (np.log10(1 + chain.volume[at]), by_call - chain.close[at])}
        title = f"{name}: errors of puts" + (" from smooth calls" if chain.source.quoted else "")
        parts.append(_panel((450, 310 * number), title, ("log10 of contracts traded", "$"), errors, None))
    style = 'font-family="sans-serif" font-size="10" viewBox="0 0 900 620" width="900" height="620"'
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" {style}>\n<rect width="900" height="620" fill="#fff"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )

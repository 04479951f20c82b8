"""Two real option chains: puts priced from the volatility of the call of the same strike, and whole chains margined.

usage: python -m bench.chains [--whole]

Writes bench/results/DATE-chains.md and docs/rules/chains.svg; docs/rules/chains.md says what the tables mean. --whole
also margins the American chain as one strategy-based account (see there how long that takes).
"""

from __future__ import annotations

import datetime as dt
import sys
from pathlib import Path

from bench.chains.chain import APPLE, INDEX, LEAST_CLOSE, read
from bench.chains.picture import picture
from bench.chains.puts import price_puts
from bench.chains.tables import causes, distribution, every_miss, forwards, lateness, margins

PAGE = Path(__file__).parents[2] / "docs/rules"


def main() -> None:
    """Price, margin, print the tables and keep them."""
    missing = [str(source.file) for source in (APPLE, INDEX) if not source.file.is_file()]
    if missing:
        sys.exit(f"error: the real option chains are absent: {', '.join(missing)}")
    index, apple = read(INDEX), read(APPLE)
    quoted = price_puts(index, index.close >= LEAST_CLOSE)
    studies = {"AAPL, traded": price_puts(apple), "SPX, traded": price_puts(index), "SPX, quoted": quoted}
    for chain in (apple, index):
        calls = chain.sign > 0
        print(f"{chain.source.name}: {len(chain.close)} contracts with a close, {(chain.volume > 0).sum()} traded, ")
        print(f"{(chain.traded & calls).sum()} calls and {(chain.traded & ~calls).sum()} puts of $0.50 or more")
    parts = {
        "Errors": distribution(studies),
        "Forwards, AAPL": f"spot {studies['AAPL, traded'].parity.spot:.2f}\n\n" + forwards(studies["AAPL, traded"]),
        "Forwards, SPX": f"spot {quoted.parity.spot:.2f}\n\n" + forwards(quoted),
        "The stock at the last trade, AAPL": lateness(studies["AAPL, traded"]),
        "Causes": causes(studies),
        "Margin": margins((studies["AAPL, traded"], quoted), whole="--whole" in sys.argv),
        "Every miss, AAPL": every_miss(studies["AAPL, traded"]),
        "Every miss, SPX": every_miss(quoted),
    }
    text = "\n".join(f"## {title}\n\n{part}" for title, part in parts.items())
    print(text)
    (Path(__file__).parents[1] / "results" / f"{dt.datetime.now(dt.UTC).date()}-chains.md").write_text(text)
    (PAGE / "chains.svg").write_text(picture([(studies["AAPL, traded"], "2014-10-18"), (quoted, "2016-02-19")]))


if __name__ == "__main__":
    main()

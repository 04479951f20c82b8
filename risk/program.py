"""Many small linear programs in whole numbers, solved together by HiGHS (Huangfu and Hall, Mathematical Programming
Computation 10, 2018; through scipy.optimize.milp)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csc_array

from risk.amounts import Floats, Ints
from risk.block import runs

#: Variables solved together: a call costs as much as some ten groups, and a simplex grows faster than its program.
TOGETHER = 1_500
#: Variables times nodes of a search after which the best that was found is taken. An account of some twenty legs on
#: one underlying is never near it; for hundreds a proof may take minutes, which would stall all accounts of the shard
#: (docs/performance.md). A count, not a time, so that every machine stops at the same.
EFFORT, _LEAST_NODES = 400_000, 100
#: Variables searched together: what a search costs is mostly its first node, which ten small programs can share. A
#: program larger than that is searched by itself, and of one larger still one optimum is as good as another.
_SEARCHED, _LARGE = 150, 500
#: A value nearer to a whole number than this is that.
_WHOLE = 1e-6
#: Dollars by which an optimum may be missed, in fractions and in whole numbers: those cost whole ticks.
_SLACK, _HALF_TICK = 1e-7, 5e-5


@dataclass(frozen=True, slots=True)
class Programs:
    """g independent programs: the least cost of v variables, not negative, under r rows; those of a program adjacent.

    Attributes:
      cost: (v,) dollars a unit.
      second: (v,) a unit's second cost. tied: (g,) whether that is least among equal costs; else it only decides
        between optima.
      matrix: (r, v). least, most: (r,) bounds of the rows.
      whole: (v,) whether a variable counts.
      variables, rows: (g + 1,) where those of each program begin.
    """

    cost: Floats
    second: Floats
    tied: NDArray[np.bool_]
    matrix: csc_array
    least: Floats
    most: Floats
    whole: NDArray[np.bool_]
    variables: Ints
    rows: Ints

    def solve(self) -> Floats:
        """(v,) the variables of an optimum of each.

        Without the condition of whole numbers nearly all come out whole. Those that do not are solved for the least
        `second` among the optima, which mostly is whole; the few for which that fails need a search.
        """
        values = np.empty(len(self.cost))
        part = (self.variables[:-1] // TOGETHER).tolist()
        cuts = [0, *(at for at in range(1, len(part)) if part[at] != part[at - 1]), len(part)]
        for first, end in pairwise(cuts):
            values[self.variables[first] : self.variables[end]] = self._relaxed(first, end)
        again = np.union1d(self._divided(values), np.flatnonzero(self.tied))
        failed = self._settle(again, values)
        if len(failed) > 1:
            failed = np.concatenate([self._settle(program, values) for program in np.split(failed, len(failed))])
        divided = np.union1d(self._divided(values), failed)
        sizes = np.diff(self.variables)[divided]
        for batch in np.split(divided, np.flatnonzero(np.diff((np.cumsum(sizes) - sizes) // _SEARCHED)) + 1):
            if not self._search(batch, values):
                for program in np.split(batch, len(batch)):
                    self._search(program, values)
        return np.where(self.whole, np.rint(values), values)

    def _divided(self, values: Floats) -> Ints:
        """The programs of which a count is not whole."""
        off = np.flatnonzero(self.whole & (np.abs(values - np.rint(values)) > _WHOLE))
        return np.unique(np.searchsorted(self.variables, off, side="right") - 1)

    def _relaxed(self, first: int, end: int) -> Floats:
        """Neighbouring programs, from one up to another."""
        variables = slice(self.variables[first], self.variables[end])
        rows = slice(self.rows[first], self.rows[end])
        # To cut a sparse matrix takes as long as to solve a small one.
        matrix = self.matrix if end - first == len(self.tied) else self.matrix[rows, variables]
        return _needed(_optimum(self.cost[variables], (matrix, self.least[rows], self.most[rows]))[0])

    def _settle(self, programs: Ints, values: Floats) -> Ints:
        """Put the optima of some programs that have the least `second` into the values; those where that failed."""
        if not len(programs):
            return programs
        chosen, of, bounds = self._apart(programs)
        bounds.append(_at_most(self.cost[chosen], of, values[chosen], _SLACK))
        found, _ = _optimum(self.second[chosen], bounds)
        if found is None:
            # To stay at an optimum, in numbers that are rounded, may be more than the solver can.
            return programs
        values[chosen] = found
        return programs[:0]

    def _search(self, programs: Ints, values: Floats) -> bool:
        """Put optima of some programs in whole numbers into the values, or the best that was found of a single one;
        whether they are."""
        if not len(programs):
            return True
        chosen, of, bounds = self._apart(programs)
        cost, whole = self.cost[chosen], self.whole[chosen]
        found, proved = _optimum(cost, bounds, whole)
        if len(programs) > 1 and not proved:
            return False
        values[chosen] = _needed(found)
        tied = self.tied[programs] & (np.diff(self.variables)[programs] <= _LARGE)
        if tied.any():
            bounds.append(_at_most(cost, of, np.rint(values[chosen]), _HALF_TICK))
            again, _ = _optimum(np.where(tied[of], self.second[chosen], 0.0), bounds, whole)
            values[chosen] = values[chosen] if again is None else again
        return True

    def _apart(self, programs: Ints) -> tuple[Ints, Ints, list[Any]]:
        """Variables of some programs, which of these each is of, and the bounds of their rows."""
        chosen, rows = (runs(starts[programs], np.diff(starts)[programs]) for starts in (self.variables, self.rows))
        of = np.repeat(np.arange(len(programs)), np.diff(self.variables)[programs])
        matrix = self.matrix if len(programs) == len(self.tied) else self.matrix[:, chosen][rows]
        return chosen, of, [(matrix, self.least[rows], self.most[rows])]


def _at_most(cost: Floats, of: Ints, values: Floats, slack: float) -> Any:
    """The bounds by which each program costs no more than at the values."""
    most = np.bincount(of, cost * values) + slack
    # A column has one entry.
    matrix = csc_array((cost, of, np.arange(len(of) + 1)), shape=(len(most), len(of)))
    return matrix, np.full(len(most), -np.inf), most


def _needed(found: Floats | None) -> Floats:
    if found is None:
        raise RuntimeError("expected a program with an optimum, found none")
    return found


def _optimum(cost: Floats, bounds: Any, whole: NDArray[np.bool_] | None = None) -> tuple[Floats | None, bool]:
    """The variables of an optimum, or the best that was found; none where the solver gave up. Whether it is proved."""
    # It takes 20 MB, which a day without options need not pay.
    from scipy.optimize import milp

    options: dict[str, Any] = {"presolve": False}
    if whole is not None:
        options |= {"mip_rel_gap": 0.0, "node_limit": max(_LEAST_NODES, EFFORT // len(cost))}
    found = milp(
        cost,
        constraints=bounds,
        integrality=None if whole is None else whole.astype(np.int64),
        options=options,
    )
    return None if found.x is None else np.asarray(found.x), bool(found.success)

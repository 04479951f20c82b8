"""Many small linear programs in whole numbers, solved together by HiGHS (Huangfu and Hall, Mathematical Programming
Computation 10, 2018; through scipy.optimize.milp)."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csc_array, csr_array, vstack

from risk.amounts import Floats, Ints
from risk.block import runs

#: Variables solved together: a call costs as much as some ten groups, and a simplex grows faster than its program.
TOGETHER = 1_500
#: A search of fewer variables is faster for being simplified first; a larger one, and a relaxed program, is slower.
_PRESOLVED = 20
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
        if len(again):
            values[self._places(self.variables, again)] = self._second(again, values)
            for program in self._divided(values).tolist():
                values[self.variables[program] : self.variables[program + 1]] = self._searched(program)
        return np.where(self.whole, np.rint(values), values)

    def _divided(self, values: Floats) -> Ints:
        """The programs of which a count is not whole."""
        off = np.flatnonzero(self.whole & (np.abs(values - np.rint(values)) > _WHOLE))
        return np.unique(np.searchsorted(self.variables, off, side="right") - 1)

    def _relaxed(self, first: int, end: int) -> Floats:
        """Neighbouring programs, from one up to another."""
        variables = slice(self.variables[first], self.variables[end])
        rows = slice(self.rows[first], self.rows[end])
        bounds = LinearConstraint(self.matrix[rows, variables], self.least[rows], self.most[rows])
        return _optimum(self.cost[variables], bounds)

    def _second(self, programs: Ints, values: Floats) -> Floats:
        """Of the optima of some programs those with the least `second`."""
        chosen, rows = self._places(self.variables, programs), self._places(self.rows, programs)
        of = np.repeat(np.arange(len(programs)), np.diff(self.variables)[programs])
        cost = self.cost[chosen]
        paid = csr_array((cost, (of, np.arange(len(chosen)))))
        most = np.bincount(of, cost * values[chosen]) + _SLACK
        bounds = LinearConstraint(
            vstack([self.matrix[:, chosen][rows], paid], format="csc"),
            np.append(self.least[rows], np.full(len(programs), -np.inf)),
            np.append(self.most[rows], most),
        )
        return _optimum(self.second[chosen], bounds)

    def _searched(self, program: int) -> Floats:
        """One program in whole numbers."""
        variables = slice(self.variables[program], self.variables[program + 1])
        rows = slice(self.rows[program], self.rows[program + 1])
        cost, whole = self.cost[variables], self.whole[variables]
        bounds = [LinearConstraint(self.matrix[rows, variables], self.least[rows], self.most[rows])]
        found = _optimum(cost, bounds, whole)
        if not self.tied[program]:
            return found
        bounds.append(LinearConstraint(cost[None], -np.inf, cost @ found + _HALF_TICK))
        return _optimum(self.second[variables], bounds, whole)

    @staticmethod
    def _places(starts: Ints, programs: Ints) -> Ints:
        return runs(starts[programs], np.diff(starts)[programs])


def _optimum(cost: Floats, bounds: Any, whole: NDArray[np.bool_] | None = None) -> Floats:
    found = milp(
        cost,
        constraints=bounds,
        integrality=None if whole is None else whole.astype(np.int64),
        options={"mip_rel_gap": 0.0, "presolve": whole is not None and len(cost) < _PRESOLVED},
    )
    if found.x is None:
        raise RuntimeError(f"expected a program with an optimum, found {found.message}")
    return np.asarray(found.x)

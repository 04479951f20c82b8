"""Pairing: which positions offset which, so that the requirement is the lowest that FINRA 4210(f)(2) allows.

Each account's options on an underlying, and what it holds of that underlying, form a group, which is a linear program.
Its columns are the offsets of risk.offsets. Limited-risk combinations (spreads, butterflies, condors, boxes, of any
ratio; (f)(2)(A)(xxxii)) need not be listed: the legs that may combine join a pool, which requires the worst netted
intrinsic value over its exercise prices. Two combinations put together never require more than each by itself, so one
pool for each date at which short options expire is enough. Where the program divides a contract, a mixed-integer
program decides.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import csc_array

from risk import lines
from risk.amounts import TICKS_PER_DOLLAR, Floats, Ints
from risk.block import distinct, matches, runs
from risk.legs import Legs
from risk.lines import Lines
from risk.memo import Memo
from risk.offsets import Offsets, list_offsets
from risk.program import Programs
from risk.rulebook import OptionRules
from risk.straddles import Straddles, straddles_of


@dataclass(frozen=True, slots=True)
class _Pools:
    """q pools of limited-risk combinations.

    Attributes:
      pool, leg: (m,) which leg may join which pool, by pool.
      group: (q,) of each pool.
      node_pool: (s,) pool of each of the exercise prices at which it is valued.
      node, member, loss: (e,) what a contract of a member loses at a node, ticks; zeros are left out.
    """

    pool: Ints
    leg: Ints
    group: Ints
    node_pool: Ints
    node: Ints
    member: Ints
    loss: Floats


def pair(legs: Legs, rules: OptionRules, memo: Memo | None = None) -> Lines:
    """The offsets taken, as lines whose accounts are groups and whose positions are legs.

    The requirement and the equity of a line are all that its options require and are worth, and what it changes beside
    each stock by itself. What is left of a long option is worth nothing, and in no line.

    Args:
      memo: how groups paired before, under the same rules.

    Raises:
      ValueError: a strike, price or count that is not a number.
    """
    if memo is None:
        return _paired(legs, rules)
    first = np.flatnonzero(np.diff(legs.group, prepend=-1))
    ends, told = np.append(first[1:], len(legs.group)), np.ascontiguousarray(legs.columns().T)

    def find(places: Ints) -> list[tuple]:
        chosen = runs(first[places], (ends - first)[places])
        return _by_group(_paired(legs.at(chosen), rules), legs.group[first[places]], chosen, first[places])

    questions = [told[start:end].tobytes() for start, end in zip(first.tolist(), ends.tolist(), strict=True)]
    rule, requirement, equity, counts, positions, units = zip(*memo.answers(questions, find), strict=True)
    of_group, members = (np.repeat(np.arange(len(first)), list(map(len, parts))) for parts in (rule, positions))
    return Lines(
        account=legs.group[first][of_group],
        rule=np.concatenate(rule),
        requirement=np.concatenate(requirement),
        equity=np.concatenate(equity),
        starts=np.append(0, np.cumsum(np.concatenate(counts))),
        positions=np.concatenate(positions) + first[members],
        units=np.concatenate(units),
    )


def _by_group(found: Lines, groups: Ints, chosen: Ints, first: Ints) -> list[tuple]:
    """Columns of the lines of each group, whose positions count from its first leg.

    Args:
      groups: (g,) ascending. chosen: which legs the positions are places of. first: (g,) leg of each group.
    """
    found = found.at(np.argsort(found.account, kind="stable"))
    of_group = np.searchsorted(groups, found.account)
    counts, line = np.diff(found.starts), np.searchsorted(of_group, np.arange(len(groups) + 1)).tolist()
    positions = chosen[found.positions] - np.repeat(first[of_group], counts)
    members = found.starts[line].tolist()
    by_line, by_member = (found.rule, found.requirement, found.equity, counts), (positions, found.units)
    return [
        (
            *(column[line[at] : line[at + 1]].copy() for column in by_line),
            *(column[members[at] : members[at + 1]].copy() for column in by_member),
        )
        for at in range(len(groups))
    ]


def _paired(legs: Legs, rules: OptionRules) -> Lines:
    offsets, pools = list_offsets(legs, rules), _pools(legs)
    straddles = straddles_of(legs, offsets)
    units, joined = _solve(legs, offsets, straddles, pools)
    paired, units = straddles.lines(legs, offsets, units)
    return lines.joined_lines([_singled(legs, offsets, units), paired, _pooled(legs, pools, joined)])


def _pools(legs: Legs) -> _Pools:
    """A pool for each group, size and style of contract, and date at which short options of it expire.

    In it are the short options that expire by then, and the long ones that do not expire before: of calls, and of puts,
    where there are both.
    """
    option = np.flatnonzero((legs.right != 0) & (legs.count > 0))
    kind = np.stack([legs.group, legs.multiplier, legs.american])[:, option]
    kinds = distinct(kind)[1]
    short = legs.short[option]
    dated = distinct(np.stack([kinds, legs.expiry[option]])[:, short])[0]
    pool, member = matches(dated[0].astype(np.int64), kinds)
    date, expiry = dated[1].astype(np.int64)[pool], legs.expiry[option][member]
    keep = np.where(short[member], expiry <= date, expiry >= date)
    pool, leg = pool[keep], option[member[keep]]
    side = 2 * pool + (legs.right[leg] > 0)
    sides = np.arange(2 * dated.shape[1])
    paired = np.isin(sides, side[legs.short[leg]]) & np.isin(sides, side[~legs.short[leg]])
    pool, leg = pool[paired[side]], leg[paired[side]]
    kept, pool = np.unique(pool, return_inverse=True)
    group = np.zeros(len(kept), np.int64)
    group[pool] = legs.group[leg]
    nodes = distinct(np.stack([pool, legs.strike[leg]]))[0]
    node_pool = nodes[0].astype(np.int64)
    node, member = matches(node_pool, pool)
    lost = np.maximum(legs.right[leg[member]] * (nodes[1][node] - legs.strike[leg[member]]), 0.0)
    lost = legs.contracts_of(leg[member], lost) * np.where(legs.short[leg[member]], 1.0, -1.0)
    some = lost != 0
    return _Pools(pool, leg, group, node_pool, node[some], member[some], lost[some])


def _solve(legs: Legs, offsets: Offsets, straddles: Straddles, pools: _Pools) -> tuple[Floats, Floats]:
    """Units of each offset, and contracts of each member of a pool."""
    first = offsets.legs[:, 0]
    several = (offsets.legs[:, 1] >= 0) | (offsets.rule == lines.STRADDLE)
    open_groups = np.unique(np.concatenate([legs.group[first[several]], pools.group]))
    # Where nothing offsets, nothing is to be chosen.
    units = np.where(several, 0.0, legs.count[first])
    joined = np.zeros(len(pools.leg))
    if not len(open_groups):
        return units, joined
    number = np.full(int(legs.group[-1]) + 1, -1)
    number[open_groups] = np.arange(len(open_groups))
    chosen = np.flatnonzero(number[legs.group[first]] >= 0)
    programs, order = _programs(legs, offsets, chosen, straddles, pools, number)
    found = np.empty(len(order))
    found[order] = programs.solve()
    units[chosen] = found[: len(chosen)]
    return units, found[len(chosen) : len(chosen) + len(joined)]


def _programs(
    legs: Legs, offsets: Offsets, chosen: Ints, straddles: Straddles, pools: _Pools, number: Ints
) -> tuple[Programs, Ints]:
    """The programs of the groups that have a number, and which variable each of their variables is.

    Variables are units of the chosen offsets, then contracts of the members of pools, then the loss of each pool.
    """
    offsets = offsets.at(chosen)
    c, m, q = len(offsets.rule), len(pools.leg), len(pools.group)
    p, s = len(legs.group), len(pools.node_pool)
    column, place = np.nonzero(offsets.legs >= 0)
    leg = offsets.legs[column, place]
    shares = np.where(legs.right[leg] == 0, legs.multiplier[offsets.legs[column, 0]], 1.0)
    members, short = np.arange(m), legs.short[pools.leg]
    side = 2 * pools.pool + (legs.right[pools.leg] > 0)
    # Rows: each leg; each option that may be relieved; each side of each pool; each node.
    sides, nodes = p + len(straddles.group), p + len(straddles.group) + 2 * q
    entries = (
        (leg, column, shares),
        (p + straddles.row, np.searchsorted(chosen, straddles.column), straddles.value),
        (pools.leg, c + members, np.ones(m)),
        (sides + side, c + members, np.where(short, 1.0, -1.0)),
        (nodes + pools.node, c + pools.member, -pools.loss / TICKS_PER_DOLLAR),
        (nodes + np.arange(s), c + m + pools.node_pool, np.ones(s)),
    )
    row, variable, value = (np.concatenate(parts) for parts in zip(*entries, strict=True))
    # A short option has to go somewhere; nothing else has.
    must = legs.short & (legs.right != 0)
    least = np.concatenate([np.where(must, legs.count, 0.0), np.zeros(nodes - p + s)])
    most = np.concatenate([legs.count, np.full(sides - p, np.inf), np.zeros(2 * q), np.full(s, np.inf)])
    cost = np.concatenate([offsets.cost() / TICKS_PER_DOLLAR, np.zeros(m), np.ones(q)])
    # Of equal excesses the one with the least requirement, so that both figures are unique. Where equity cannot differ,
    # of two long options that serve as well that which loses less at all nodes together.
    tied = np.zeros(int(number.max()) + 1, np.bool_)
    tied[number[legs.group[offsets.legs[offsets.equity != 0, 0]]]] = True
    losses = np.bincount(pools.member, pools.loss, minlength=m)
    second = np.concatenate(
        [offsets.requirement, np.where(tied[number[legs.group[pools.leg]]], 0.0, losses), np.zeros(q)]
    )
    second[c + m :] = tied[number[pools.group]] * TICKS_PER_DOLLAR
    second[:c] *= tied[number[legs.group[offsets.legs[:, 0]]]]
    of_variable = number[np.concatenate([legs.group[offsets.legs[:, 0]], legs.group[pools.leg], pools.group])]
    row_groups = (legs.group, straddles.group, np.repeat(pools.group, 2), pools.group[pools.node_pool])
    of_row = number[np.concatenate(row_groups)]
    order = np.argsort(of_variable, kind="stable")
    row_order = np.argsort(of_row, kind="stable")
    row_order = row_order[np.searchsorted(of_row[row_order], 0) :]
    place_of, row_of = np.argsort(order), np.full(len(of_row), -1)
    row_of[row_order] = np.arange(len(row_order))
    matrix = csc_array((value, (row_of[row], place_of[variable])), shape=(len(row_order), len(order)))
    groups = np.arange(int(of_variable.max()) + 2)
    return Programs(
        cost=cost[order],
        second=second[order] / TICKS_PER_DOLLAR,
        tied=tied,
        matrix=matrix,
        least=least[row_order],
        most=most[row_order],
        whole=order < c + m,
        variables=np.searchsorted(of_variable[order], groups),
        rows=np.searchsorted(of_row[row_order], groups),
    ), order


def _singled(legs: Legs, offsets: Offsets, units: Floats) -> Lines:
    """The offsets taken, a line each."""
    taken = np.flatnonzero(units)
    offsets, units = offsets.at(taken), units[taken]
    line, place = np.nonzero(offsets.legs >= 0)
    leg = offsets.legs[line, place]
    size = np.where(legs.right[leg] == 0, legs.multiplier[offsets.legs[line, 0]], 1.0) * units[line]
    return Lines(
        account=legs.group[offsets.legs[:, 0]],
        rule=offsets.rule,
        requirement=offsets.requirement * units,
        equity=offsets.equity * units,
        starts=np.append(0, np.cumsum(np.bincount(line, minlength=len(units)))),
        positions=leg,
        units=np.where(legs.short[leg], -size, size),
    )


def _pooled(legs: Legs, pools: _Pools, joined: Floats) -> Lines:
    """The pools that anything joined, a line each."""
    q = len(pools.group)
    lost = np.bincount(pools.node, weights=pools.loss * joined[pools.member], minlength=len(pools.node_pool))
    worst = np.zeros(q)
    np.maximum.at(worst, pools.node_pool, lost)
    members = np.flatnonzero(joined)
    counts = np.bincount(pools.pool[members], minlength=q)
    used = np.flatnonzero(counts)
    leg = pools.leg[members]
    return Lines(
        account=pools.group[used],
        rule=np.full(len(used), lines.SPREAD),
        requirement=worst[used],
        equity=np.zeros(len(used)),
        starts=np.append(0, np.cumsum(counts[used])),
        positions=leg,
        units=np.where(legs.short[leg], -1.0, 1.0) * joined[members],
    )

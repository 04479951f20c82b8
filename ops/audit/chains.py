"""Account chains: each link of audit.v1 names the one before it, and a snapshot names the last."""

from __future__ import annotations

from dataclasses import dataclass, field

from ops.audit.findings import Findings
from pipeline.archive import log_of
from schemas.archive import NOTHING, Row
from schemas.ids import digest
from schemas.inputs import Snapshot
from schemas.outputs import Audit

_HEAD = b'{"event_id":"'
_ID = slice(len(_HEAD), len(_HEAD) + 32)


@dataclass(slots=True)
class _Account:
    #: Of a link: the one before it, and where it is.
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    #: What snapshots say is the last link: when they were received, where, and the link.
    heads: list[tuple[int, str, str]] = field(default_factory=list)
    #: Whether a snapshot of a replayed day's own close is among them, which goes on from what is in the log.
    closing: bool = False
    #: When the first link was received.
    first: int | None = None


@dataclass(slots=True)
class AccountChains:
    """The chains of the accounts of a log.

    A chain begins with nothing, or with what a snapshot says that it goes on from. Links of an instant are in any order
    in a replayed day, so a chain is followed by its links and not by offsets.
    """

    log: str
    accounts: dict[str, _Account] = field(default_factory=dict)
    #: Whether the log begins in the middle of its topic, and so each account in the middle of its chain.
    open: bool = False

    @property
    def replayed(self) -> bool:
        """Whether the log is a replayed day, of which all is there."""
        return self.log.startswith(log_of(""))

    def take(self, row: Row, record: Audit | Snapshot) -> None:
        """A record of audit.v1 or of snapshots.v1."""
        own = self.accounts.setdefault(record.account_id, _Account())
        if isinstance(record, Snapshot):
            own.heads.append((row.received_at, row.place, record.audit_head))
            own.closing |= self.replayed and row.partition == 1
            return
        own.first = row.received_at if own.first is None else min(own.first, row.received_at)
        own.links.setdefault(record.event_id, (record.previous, row.place))

    def check(self, findings: Findings) -> None:
        """Every link follows one that is there, no two follow the same, and snapshots name links that are there."""
        for account_id, own in self.accounts.items():
            findings.counts["account chains"] += bool(own.links)
            known = {NOTHING} | own.links.keys() | _opening(own, self.open)
            if self.open and own.links:
                known.add(next(iter(own.links.values()))[0])
            heads = {head for _, _, head in own.heads}
            followers: dict[str, str] = {}
            for previous, place in own.links.values():
                if previous not in known:
                    findings.add(place, f"a link of {account_id} that is there, before it", f"it follows {previous}")
                if previous in followers and previous not in heads:
                    findings.add(place, f"one link of {account_id} behind {previous or 'nothing'}", followers[previous])
                followers.setdefault(previous, place)
            for _, place, head in own.heads:
                if head not in known:
                    findings.add(place, f"the last link of {account_id}, {head}", "none; it was removed")


def _opening(own: _Account, trimmed: bool) -> set[str]:
    """What the account's first snapshot says, if it came before the first link: of days before this log."""
    received_at, _, head = min(own.heads, default=(0, "", NOTHING))
    closing = own.closing and len(own.heads) == 1 and not trimmed
    if not own.heads or closing or (own.first is not None and received_at > own.first):
        return set()
    return {head}


def own_id(value: bytes) -> str | None:
    """The id that an event in JSON must have by its content; None of what is no event in JSON.

    Of its bytes, and not of the record in them: an older record has not all the fields that one of today has.
    """
    return digest(b"{" + value[_ID.stop + 2 :]) if value.startswith(_HEAD) else None

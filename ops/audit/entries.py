"""The entries of an index, held against the rows that they are of: each has one, and each is of one, in all fields."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec

from ops.audit.findings import MOST, Findings
from pipeline.index import Entry, Index, entries_of
from schemas.archive import Row
from schemas.scalars import encode_json

_ENCODER = msgspec.json.Encoder(enc_hook=encode_json)
Key = tuple[str, str]


@dataclass(slots=True)
class Entries:
    """What an index must have, by event and place: a hash of each entry, since an archive has many, and its object."""

    known: dict[Key, tuple[bytes, str]] = field(default_factory=dict)
    #: What differs, by object: the place, what was expected and what was found.
    wrong: dict[str, list[tuple[str, str, str]]] = field(default_factory=dict)

    def take(self, rows: Sequence[Row], name: str) -> None:
        """The rows of an object."""
        for entry in entries_of(rows, name):
            self.known[entry.event_id, entry.place] = _hash(entry), name

    def check(self, index: Index, passed_over: Callable[[str], bool], log: str | None, findings: Findings) -> None:
        """Hold an index against what it must have.

        Args:
          passed_over: whether an object is not sealed yet, or could not be read: nothing is said of it.
          log: whose entries are looked at; None: all.

        Raises:
          StoreError: the index does not answer.
        """
        for entry in index.entries():
            if passed_over(entry.object) or (log is not None and not entry.place.startswith(f"{log}/")):
                continue
            findings.counts["index entries"] += 1
            content, name = self.known.pop((entry.event_id, entry.place), (b"", entry.object))
            if not content:
                self._add(name, entry.place, f"no entry of event {entry.event_id}, or its record", "an entry alone")
            elif content != _hash(entry):
                self._add(name, entry.place, "an entry as its record", _ENCODER.encode(entry).decode())
        for (event_id, place), (_, name) in self.known.items():
            self._add(name, place, f"an entry of event {event_id} in the index", "none")
        for name, found in sorted(self.wrong.items()):
            for where, *told in sorted(found)[:MOST]:
                findings.add(where, *told)
            if len(found) > MOST:
                findings.add(
                    name, "no more of its records that the index does not agree with", f"{len(found) - MOST:,}"
                )

    def _add(self, name: str, place: str, expected: str, found: str) -> None:
        self.wrong.setdefault(name, []).append((place, expected, found))


def _hash(entry: Entry) -> bytes:
    return hashlib.blake2b(_ENCODER.encode(entry), digest_size=16).digest()

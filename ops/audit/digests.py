"""Digests of an archive: whether they are a chain, whether their facts are there, and what was published apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import msgspec

from ops.audit.findings import Findings
from pipeline.configuration import ConfigurationError
from pipeline.kafka import Kafka
from pipeline.rules import rulebook_of
from pipeline.store import Store
from schemas.archive import (
    NOTHING,
    Fact,
    Head,
    HourDigest,
    content_of,
    digest_name,
    digests_of,
    fact_name,
    read_digest,
    sealed_digest,
)
from schemas.errors import UserError
from schemas.scalars import Time
from schemas.topics import DIGESTS

_HEX = re.compile(r"[0-9a-f]{64}")
Chains = Mapping[str, Sequence[HourDigest]]


class PublishedError(UserError, ValueError):
    """What is said to be a published digest is none; the text says what one is."""


def read_chains(store: Store, log: str | None, findings: Findings) -> dict[str, list[HourDigest]]:
    """The digests of every log, or of one, by hour; what cannot be read is a finding."""
    chains: dict[str, list[HourDigest]] = {}
    for name in store.names("digests/" if log is None else digests_of(log)):
        findings.counts["digests"] += 1
        try:
            digest = read_digest(store.get(name) or b"")
        except (msgspec.DecodeError, ValueError) as error:
            findings.add(name, "a digest", f"what is none: {error}")
            continue
        true_name = digest_name(digest.log, digest.hour)
        if true_name != name:
            findings.add(name, "the digest of this name", f"that of {true_name}: it was moved")
        chains.setdefault(digest.log, []).append(digest)
    if not chains:
        findings.add(
            f"{store.address}/digests", f"digests of {log or 'a log'}", "none; this is no archive, or none is left"
        )
    for chain in chains.values():
        chain.sort(key=lambda digest: digest.hour)
    return chains


def check_chains(chains: Chains, findings: Findings, gone: Callable[[str], bool]) -> None:
    """Every digest's own hash, its predecessor, and that no hour is missing.

    gone: whether a digest of a name, before the first that is there, need not be there any more.
    """
    for log, chain in chains.items():
        first = chain[0]
        hour_before = digest_name(log, first.hour - first.seconds * 1_000_000)
        if first.previous != NOTHING and not gone(hour_before):
            removed = "none; the beginning of the log was removed"
            findings.add(hour_before, f"digest {first.previous}, which the hour behind it names", removed)
        for digest in chain:
            own = sealed_digest(digest).digest
            if own != digest.digest:
                findings.add(digest_name(log, digest.hour), f"{own}, the hash of its content", digest.digest)
        for last, after in pairwise(chain):
            name, due = digest_name(log, after.hour), last.hour + last.seconds * 1_000_000
            if after.hour != due:
                span = f"{Time(due).text()} to {Time(after.hour).text()}"
                findings.add(digest_name(log, due), f"digests of {span}", "none; hours are missing")
            elif after.previous != last.digest:
                findings.add(name, f"the digest before, {last.digest}", after.previous)
        _check_heads(chain, findings)
        findings.last[log] = chain[-1].digest


def _check_heads(chain: Sequence[HourDigest], findings: Findings) -> None:
    """That how far partitions have come is where their objects end."""
    heads = {(own.topic, own.partition): own for own in chain[0].heads} if chain[0].previous != NOTHING else {}
    for digest in chain:
        for part in digest.parts:
            known = heads.get((part.topic, part.partition))
            if known is None or known.end <= part.begin:
                head = Head(topic=part.topic, partition=part.partition, end=part.end, link=part.link)
                heads[part.topic, part.partition] = head
        expected = sorted(heads.values(), key=lambda own: (own.topic, own.partition))
        if tuple(expected) != digest.heads:
            names = ", ".join(sorted({f"{own.topic}/{own.partition}" for own in set(expected) ^ set(digest.heads)}))
            findings.add(digest_name(digest.log, digest.hour), f"heads where objects end, of {names}", "others")


def check_facts(store: Store, chains: Chains, findings: Findings) -> dict[str, set[str]]:
    """That facts are there, unchanged, and that a rulebook's label is the hash of its texts; the labels by log."""
    labels: dict[str, set[str]] = {log: set() for log in chains}
    known: set[Fact] = set()
    for log, chain in chains.items():
        for fact in {fact for digest in chain for fact in digest.facts}:
            labels[log].add(fact.what)
            if fact not in known:
                known.add(fact)
                findings.counts["facts"] += 1
                _check_fact(store.get(fact.name), fact, findings)
    return labels


def _check_fact(content: bytes | None, fact: Fact, findings: Findings) -> None:
    where = f"{fact.name} ({fact.what})"
    if content is None:
        findings.add(where, "what decisions rest on", "nothing")
    elif content_of(content) != fact.content or fact.name != fact_name(fact.content):
        findings.add(where, f"content of SHA-256 {fact.content}", content_of(content))
    elif "@" in fact.what:
        try:
            label = rulebook_of(fact.what, msgspec.json.decode(content, type=dict[str, list[str]])[fact.what]).label
        except (ConfigurationError, msgspec.DecodeError, KeyError) as error:
            label = f"what is no rulebook: {error}"
        if label != fact.what:
            findings.add(where, f"the texts of {fact.what}", label)


def check_published(chains: Chains, published: Iterable[str | HourDigest], findings: Findings) -> None:
    """That every digest that was published apart from the store is in it.

    Whoever may write to the store may write a whole chain anew, and cut off its end; what was published tells.
    """
    there = {digest.digest: digest for chain in chains.values() for digest in chain}
    before = findings.counts["published digests"]
    hours = {digest_name(log, digest.hour): digest for log, chain in chains.items() for digest in chain}
    for own in published:
        findings.counts["published digests"] += 1
        if isinstance(own, str):
            if own not in there:
                changed = "none; a digest was changed, or the end of the log was cut off"
                findings.add(f"digest {own}", "the digest that was published, in the store", changed)
            elif own not in findings.last.values():
                findings.notes.append(f"Digest {own}, which was published, is that of {there[own].hour.text()}.")
            continue
        name = digest_name(own.log, own.hour)
        found = hours.get(name)
        if found is None:
            findings.add(name, f"the digest that was published, {own.digest}", "none; the log was cut off")
        elif found != own:
            findings.add(name, f"the digest that was published, {own.digest}", found.digest)
            _compare(own, found, findings)
    if findings.counts["published digests"] == before:
        findings.notes.append("Whether its end was cut off tells only a digest that was published apart: --digest.")


def _compare(published: HourDigest, found: HourDigest, findings: Findings) -> None:
    parts = {part.name: part for part in found.parts}
    for part in published.parts:
        own = parts.pop(part.name, None)
        if own is None:
            findings.add(part.name, "the object that the published digest names", "a digest that does not name it")
        elif own != part:
            findings.add(part.name, f"SHA-256 {part.content}, as it was published", f"a digest of {own.content}")
    for name in parts:
        findings.add(name, "no such object in the digest that was published", "a digest that names it")


def read_published(path: Path) -> Iterator[str | HourDigest]:
    """Digests that were kept apart: a line each, of hexadecimal digits or a digest in JSON.

    Raises:
      PublishedError: a line is neither. OSError.
    """
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        if line.strip():
            try:
                yield published_of(line.decode().strip())
            except (PublishedError, UnicodeDecodeError) as error:
                raise PublishedError(f"{path}, line {number}: {error}") from None


def published_of(text: str) -> str | HourDigest:
    """A digest as 64 hexadecimal digits, or in JSON with its own hash. Raises PublishedError."""
    if _HEX.fullmatch(text):
        return text
    return _digest_of(text.encode())


def _digest_of(text: bytes) -> HourDigest:
    try:
        digest = read_digest(text)
    except (msgspec.DecodeError, ValueError):
        expected = "a digest of 64 hexadecimal digits, or one in JSON"
        raise PublishedError(f"expected {expected}, found {text.decode(errors='replace')[:80]!r}") from None
    if sealed_digest(digest) != digest:
        raise PublishedError(f"expected digest {sealed_digest(digest).digest}, of its content, found {digest.digest}")
    return digest


def published_on(kafka: Kafka) -> Iterator[HourDigest]:
    """The digests that a live job's archive published on its topic. Raises CaptureError, KafkaException."""
    # What reads Kafka is of no use to an archive of a folder.
    from ops.capture import Log

    for message in Log(kafka, (DIGESTS,)).records():
        yield _digest_of(bytes(message.value() or b""))

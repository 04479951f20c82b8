"""What the archive costs in AWS, from what is written and kept of a record.

Prices are the lists of US East (N. Virginia), in dollars: aws.amazon.com/s3/pricing (S3 Standard, first 50 TB) and
aws.amazon.com/dynamodb/pricing/on-demand (as they are since 2024-11-01), as other sites said in March to June 2026.
Read the pages themselves before a budget rests on them. Traffic, KMS and free tiers are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

MILLION, GB = 1_000_000, 1e9
MONTHS = 12

S3_PUT, S3_GET = 0.005 / 1_000, 0.0004 / 1_000
S3_GB_MONTH = 0.023
#: Of Standard-Infrequent Access, which the table is of, and of Standard: a write unit, a read unit, a GB and month.
INFREQUENT = (0.78 / MILLION, 0.155 / MILLION, 0.10)
STANDARD = (0.625 / MILLION, 0.125 / MILLION, 0.25)
#: A write unit is of 1 KB, a read unit of 4 KB, or of two of them where it need not be consistent. What DynamoDB adds
#: to an item that is stored, bytes; and in how many places it is: the table and two indexes with all of it.
WRITE_UNIT, READ_UNIT, ADDED, COPIES = 1024, 4096, 100, 3


@dataclass(frozen=True)
class Costs:
    """Dollars for a million records: once, and for each month that they are kept."""

    objects: float
    entries: float
    objects_month: float
    entries_month: float

    def years(self, count: float) -> float:
        """In all, of records that are kept for so many years."""
        return self.objects + self.entries + (self.objects_month + self.entries_month) * MONTHS * count


def costs(
    *, stored: float, per_object: float, entry: float, indexed: float = 1.0, prices: tuple[float, float, float]
) -> Costs:
    """Of a million records.

    Args:
      stored: bytes of a record in its object. per_object: records of an object.
      entry: bytes of an index entry. indexed: the share of records that have one.
      prices: INFREQUENT or STANDARD.
    """
    write, _, month = prices
    return Costs(
        objects=MILLION / per_object * S3_PUT,
        entries=MILLION * indexed * COPIES * math.ceil(entry / WRITE_UNIT) * write,
        objects_month=MILLION * stored / GB * S3_GB_MONTH,
        entries_month=MILLION * indexed * COPIES * (entry + ADDED) / GB * month,
    )


def cost_of_question(*, entries: int, entry: float, objects: int, prices: tuple[float, float, float]) -> float:
    """Dollars of an account-day: its entries by the index of accounts, and its objects whole."""
    _, read, _ = prices
    return math.ceil(entries * entry / READ_UNIT) / 2 * read + objects * S3_GET

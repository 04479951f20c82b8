"""`python -m schemas` rewrites schemas/avsc from the record types."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.codec import avro_schema
from schemas.topics import BY_NAME

FOLDER = Path(__file__).parent / "avsc"


def main() -> None:
    """Write one .avsc per topic and remove those whose topic is gone."""
    for path in FOLDER.glob("*.avsc"):
        if path.name.removesuffix(".avsc") not in BY_NAME:
            path.unlink()
    for name, topic in BY_NAME.items():
        (FOLDER / f"{name}.avsc").write_text(json.dumps(avro_schema(topic.record), indent=2) + "\n")


if __name__ == "__main__":
    main()

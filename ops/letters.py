"""margin deadletter: list the records that could not be used, and send them again once they can be."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from ops.terminal import console, explained

if TYPE_CHECKING:
    from ops.deadletters import Choice, DeadLetters

app = typer.Typer(help="Records that could not be used: list them, and send them again.", no_args_is_help=True)

JobFile = Annotated[str, typer.Option("--job", help="a live job: a name in conf/jobs, or a file")]
Topic = Annotated[str | None, typer.Option(help="only what came from it")]
Partition = Annotated[int | None, typer.Option(help="only what came from it", min=0)]
Offsets = Annotated[str | None, typer.Option(help="only of offsets FIRST-LAST, or of one")]
Reason = Annotated[str | None, typer.Option(help="only with this text in the reason")]


@app.command("list")
def list_(
    job: JobFile = "live",
    topic: Topic = None,
    partition: Partition = None,
    offsets: Offsets = None,
    reason: Reason = None,
    limit: Annotated[int, typer.Option(help="the newest so many", min=1)] = 20,
    payload: Annotated[bool, typer.Option("--payload", help="with what they hold")] = False,
    json: Annotated[
        bool, typer.Option("--json", help="a line of JSON each; correct payloads, then replay --edit")
    ] = False,
) -> None:
    """What could not be used, why, and where it is."""
    import msgspec

    with explained():
        letters = _dead_letters(job)
        found = letters.chosen(_choice(topic, partition, offsets, reason))
        table = Table("time", "topic", "partition", "offset", "reason", *(["payload"] if payload else []))
        for letter in found[-limit:]:
            row, record = letters.row_of(letter), letter.record
            text = msgspec.json.encode(row).decode()
            if json:
                print(text)
            # What cannot be shown as text is shown as Python's escapes.
            held = [row.value.decode() if row.base64 is None else repr(row.base64)[2:-1]] if payload else []
            cells = (row.at, record.topic, record.partition, record.offset, record.reason, *held)
            table.add_row(*(Text(str(cell)) for cell in cells))
    if not json:
        console.print(table)
        console.print(f"{min(limit, len(found)):,} of {len(found):,}", highlight=False)


@app.command()
def replay(
    job: JobFile = "live",
    topic: Topic = None,
    partition: Partition = None,
    offsets: Offsets = None,
    reason: Reason = None,
    edit: Annotated[Path | None, typer.Option(help="lines of list --json with corrected payloads; only these")] = None,
    send: Annotated[bool, typer.Option("--send", help="send them; otherwise say what would be sent")] = False,
) -> None:
    """Send dead letters again, as they came or corrected, to the topic that they came from; each only once."""
    from ops.deadletters import load_edits

    with explained():
        letters = _dead_letters(job)
        edits = {} if edit is None else load_edits(edit)
        found = letters.chosen(_choice(topic, partition, offsets, reason))
        plan = letters.planned([letter for letter in found if edit is None or letter.id in edits], edits)
        table = Table("dead letter", "bytes", "corrected", "what becomes of it")
        for resend in plan:
            state = "was sent before" if resend.sent else resend.fault or "can be read now"
            corrected = "yes" if resend.letter.id in edits else ""
            table.add_row(resend.letter.id, f"{len(resend.value):,}", corrected, Text(state))
        console.print(table)
        if send:
            console.print(f"sent {letters.send(plan):,}", highlight=False)
        else:
            console.print("nothing was sent; --send sends what was not sent before", highlight=False)


def _dead_letters(job: str) -> DeadLetters:
    from ops.deadletters import DeadLetters
    from pipeline.job import load_live_job

    plan = load_live_job(job)
    return DeadLetters(plan.kafka, plan.formats)


def _choice(topic: str | None, partition: int | None, offsets: str | None, reason: str | None) -> Choice:
    from ops.deadletters import Choice

    if offsets is None:
        return Choice(topic, partition, None, reason)
    if not (numbers := re.fullmatch(r"(\d+)(?:-(\d+))?", offsets)):
        raise typer.BadParameter(f"--offsets: expected FIRST-LAST or one, such as 100-120, found {offsets}")
    return Choice(topic, partition, (int(numbers[1]), int(numbers[2] or numbers[1])), reason)

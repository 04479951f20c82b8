"""margin submit: hand a job to a cloud, or print what would be sent."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from ops.terminal import errors, explained

app = typer.Typer(help="Hand a job to a cloud; without --submit print the request.", no_args_is_help=True)

Submit = Annotated[bool, typer.Option("--submit", help="send it; otherwise it is printed, and nothing is sent")]
Emr = Annotated[str, typer.Option("--job", help="a name in conf/jobs, or a copy of conf/jobs/emr.yaml")]
Dataflow = Annotated[str, typer.Option("--job", help="a name in conf/jobs, or a copy of conf/jobs/dataflow.yaml")]


@app.command()
def emr_flink(job: Emr = "emr", submit: Submit = False) -> None:
    """The live job, as a step of an EMR cluster with Flink."""
    from runners.emr import live_request, load_emr_job, submit_live

    _hand_over(
        lambda: load_emr_job(job),
        lambda plan: live_request(plan).content,
        submit_live if submit else None,
        "cluster {}; follow it with: aws emr list-steps --cluster-id {}",
    )


@app.command()
def emr_spark(job: Emr = "emr", submit: Submit = False) -> None:
    """A replay, as a job run of EMR Serverless with Spark."""
    from runners.emr import load_emr_job, replay_request, submit_replay

    _hand_over(
        lambda: load_emr_job(job),
        lambda plan: replay_request(plan).content,
        submit_replay if submit else None,
        "job run {}; follow it with: aws emr-serverless get-job-run --job-run-id {} --application-id ..",
    )


@app.command()
def dataflow(job: Dataflow = "dataflow", submit: Submit = False) -> None:
    """A replay, launched on Dataflow from its flex template."""
    from runners.dataflow import content, launch_request, load_dataflow_job, template
    from runners.dataflow import submit as launch

    _hand_over(
        lambda: load_dataflow_job(job),
        lambda plan: {"template": content(template(plan)), "launch": content(launch_request(plan))},
        launch if submit else None,
        "job {}; follow it with: gcloud dataflow jobs describe {} --region ..",
    )


def _hand_over(
    load: Callable[[], Any], request: Callable[[Any], Any], send: Callable[[Any], str] | None, follow: str
) -> None:
    from runners.submission import rendered

    with explained():
        plan = load()
        print(rendered(request(plan)))
        if send is None:
            # The request alone is on standard output, to be piped.
            errors.print("nothing was sent; --submit sends it", highlight=False)
        else:
            found = send(plan)
            errors.print(follow.format(found, found), highlight=False, soft_wrap=True)

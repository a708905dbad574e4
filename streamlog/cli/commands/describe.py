"""`streamlog describe`: the plan of a file's pipelines, without running them."""

from __future__ import annotations

import click

from streamlog.cli.command import Command, invocation

FORMATS = ("text", "mermaid", "json")


@click.command(
    "describe",
    cls=Command,
    examples="""
    streamlog describe pipelines/flights.py
    streamlog describe app.py:totals --format mermaid
    """,
)
@click.argument("target", metavar="FILE[:NAME...]")
@click.option("--format", "plan_format", type=click.Choice(FORMATS), help="Default: text")
def command(target: str, plan_format: str | None) -> None:
    """Show how pipelines are cut into sub-topologies, and their topics and stores."""
    from streamlog.cli.output import write_json
    from streamlog.cli.pipeline_file import load_pipelines
    from streamlog.cli.plan_pictures import plan_as_json, plan_as_mermaid, plan_as_text

    plans = [pipeline.plan() for pipeline in load_pipelines(target)]
    wanted = plan_format or ("json" if invocation().is_json else "text")
    if wanted == "json":
        write_json([plan_as_json(plan) for plan in plans])
    elif wanted == "mermaid":
        click.echo(plan_as_mermaid(plans))
    else:
        click.echo("\n\n".join(plan_as_text(plan) for plan in plans))

"""`streamlog describe`: the plan of a file's pipelines, and with `--running` how they run."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Command, invocation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from streamlog.cli.pipeline_file import AnyPipeline
    from streamlog.cli.plan_pictures import Running
    from streamlog.config import Settings
    from streamlog.processing.plan.plan import Plan

FORMATS = ("text", "mermaid", "json")


@click.command(
    "describe",
    cls=Command,
    examples="""
    streamlog describe pipelines/flights.py
    streamlog describe app.py:totals --format mermaid
    streamlog describe app.py:totals --running -b kafka:9092
    """,
)
@click.argument("target", metavar="FILE[:NAME...]")
@click.option("--format", "plan_format", type=click.Choice(FORMATS), help="Default: text")
@click.option("--running", is_flag=True, help="Ask the brokers, and show where each task is")
def command(target: str, plan_format: str | None, running: bool) -> None:
    """Show how pipelines are cut into sub-topologies, and their topics and stores."""
    from streamlog.cli.loop import run_async
    from streamlog.cli.pipeline_file import load_pipelines

    given = invocation()
    wanted = plan_format or ("json" if given.is_json else "text")
    pipelines = load_pipelines(target)
    if not running:
        write_plans([pipeline.plan() for pipeline in pipelines], {}, wanted)
        return

    async def main() -> None:
        plans, how = await _look(pipelines, given.settings)
        write_plans(plans, how, wanted)

    run_async(main, verbosity=given.verbosity)


def write_plans(plans: Sequence[Plan], how: dict[str, Running], plan_format: str) -> None:
    """Writes plans to stdout."""
    from streamlog.cli.output import write_json
    from streamlog.cli.plan_pictures import plan_as_json, plan_as_mermaid, plan_as_text

    if plan_format == "json":
        write_json([plan_as_json(plan, how.get(plan.name)) for plan in plans])
    elif plan_format == "mermaid":
        click.echo(plan_as_mermaid(plans, how))
    else:
        click.echo("\n\n".join(plan_as_text(plan, how.get(plan.name)) for plan in plans))


async def _look(
    pipelines: Sequence[AnyPipeline], settings: Settings
) -> tuple[list[Plan], dict[str, Running]]:
    """Returns the plans under the names that the cluster knows them by, and how they run."""
    from streamlog.cli.connection import open_connection
    from streamlog.cli.standing import running_of
    from streamlog.processing.replay.registry_topic import read_registry
    from streamlog.processing.worker.overview import look

    async with open_connection(settings) as (client, _):
        registry = await read_registry(client)
        plans = [each.plan(registry.naming(each.name)) for each in pipelines]
        seen = {each.name: each for each in await look(client, [plan.name for plan in plans])}
    now_ms = time.time_ns() // 1_000_000
    return plans, {plan.name: running_of(seen.get(plan.name), now_ms) for plan in plans}

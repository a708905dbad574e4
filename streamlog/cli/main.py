"""The `streamlog` command: its tree, and how it ends.

Only this module, click and the settings are imported for `--help`; what a command needs is imported
when it runs. Errors go to stderr as one line, `streamlog: <what, where, why>. <what to do next>`,
and the exit code tells their family (see `streamlog.cli.failure`).
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from streamlog.cli.command import Entry, Root

if TYPE_CHECKING:
    from collections.abc import Sequence

COMMANDS = "streamlog.cli.commands"

TREE = (
    Entry("demo", "Get going", "See it work: a broker, data and pipelines in one go"),
    Entry("run", "Pipelines", "Run the pipelines of a file; a broker is embedded if none is named"),
    Entry("replay", "Pipelines", "Run an edited pipeline beside the live one; compare, swap in"),
    Entry("rewind", "Pipelines", "Take a pipeline's state and positions back, together"),
    Entry("state", "Pipelines", "Look into the state of pipelines, while they run"),
    Entry("describe", "Pipelines", "Show a pipeline's plan: sub-topologies, topics, stores"),
    Entry("ps", "Pipelines", "List pipelines: where they run, how far they are"),
    Entry("top", "Pipelines", "Watch pipelines: rates, lag, checkpoints, live"),
    Entry("produce", "Data", "Send lines from stdin to a topic"),
    Entry("consume", "Data", "Print the records of topics"),
    Entry("topic", "Data", "Create, list, describe and delete topics"),
    Entry("group", "Operate", "List, describe, move and delete consumer groups"),
    Entry("dlq", "Operate", "List and show records that failed, send them back, drop them"),
    Entry("server", "Operate", "Run a broker that speaks Kafka's protocol"),
    Entry("help", "Operate", "Long texts: help offsets, help formats, help config"),
    Entry("topics", None, "Same as: topic list", module="topic", attribute="list_topics"),
    Entry("groups", None, "Same as: group list", module="group", attribute="list_groups"),
    Entry("lag", None, "Same as: group describe", module="group", attribute="describe_group"),
)

EXAMPLES = """\
Examples:
  streamlog demo
  seq 5 | streamlog produce numbers -b kafka:9092
  streamlog consume flights -o -2 -e -J"""


@click.command(cls=Root, tree=TREE, package=COMMANDS, examples=EXAMPLES)
def cli() -> None:
    """Stream processing on the log: a broker that speaks Kafka, and typed pipelines."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the command and ends the process with its exit code."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Runs the command; returns the exit code."""
    try:
        result = cli.main(arguments, prog_name="streamlog", standalone_mode=False)
        sys.stdout.flush()
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except SystemExit:
        # So click ends when nobody reads the output any more: `... | head` has what it wanted.
        return 0
    except BaseException as error:  # noqa: BLE001  every failure becomes words here
        from streamlog.cli.failure import report

        return report(error)
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()

"""`streamlog help`: the texts that are too long for `--help`."""

from __future__ import annotations

import inspect

import click

from streamlog.cli.command import Command


def _offsets() -> str:
    from streamlog.cli import offsets

    return inspect.getdoc(offsets) or ""


def _formats() -> str:
    from streamlog.cli import record_format

    return inspect.getdoc(record_format) or ""


def _config() -> str:
    from streamlog import config

    lines = [inspect.getdoc(config) or "", ""]
    lines += [f"    {s.name:<20} {s.meaning}" for s in config.SETTINGS.values()]
    return "\n".join(lines)


TOPICS = {"offsets": _offsets, "formats": _formats, "config": _config}


@click.command("help", cls=Command, examples="streamlog help offsets")
@click.argument("topic", type=click.Choice(list(TOPICS)))
def command(topic: str) -> None:
    """Explain a grammar: where to read from, how to print records, how to set what."""
    click.echo(TOPICS[topic]())

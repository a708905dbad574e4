"""Commands that load when they are needed, and options that stand anywhere on the line.

`Root` shows the tree from a table, without importing any command. `Command` gives every command
the global options, so that `streamlog topic list -b kafka:9092` and `streamlog -b kafka:9092 topic
list` mean the same; both write into one `Invocation`, which click keeps for the whole line.
"""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from streamlog.config import Settings, did_you_mean, load_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

INVOCATION = "streamlog.invocation"
SECTIONS = ("Get going", "Data", "Pipelines", "Operate")
FORMATS = ("text", "json")


@dataclass(slots=True)
class Invocation:
    """What the global options said."""

    flags: list[str] = field(default_factory=list)
    verbosity: int = 0
    _settings: Settings | None = None

    @property
    def settings(self) -> Settings:
        """The settings from flags, environment and files; resolved at the first use."""
        if self._settings is None:
            self._settings = load_settings(self.flags)
        return self._settings

    @property
    def is_json(self) -> bool:
        """Whether tables are written as JSON."""
        format_ = self.settings.text("format") or "text"
        if format_ not in FORMATS:
            raise click.UsageError(f"format {format_!r} is none of {', '.join(FORMATS)}")
        return format_ == "json"


def invocation() -> Invocation:
    """Returns what the global options of the running command line said."""
    context = click.get_current_context()
    found = context.meta.setdefault(INVOCATION, Invocation())
    assert isinstance(found, Invocation)
    return found


def _store(prefix: str) -> Any:  # noqa: ANN401  click's callbacks take and return what they like
    def callback(_context: click.Context, _option: click.Parameter, value: Any) -> None:  # noqa: ANN401
        for text in value if isinstance(value, tuple) else (value,):
            if text is not None:
                invocation().flags.append(prefix + text)

    return callback


def _count_verbose(_context: click.Context, _option: click.Parameter, value: int) -> None:
    invocation().verbosity += value


def global_options() -> list[click.Option]:
    """The options that every command takes."""
    return [
        click.Option(
            ["-X", "settings"],
            metavar="KEY=VALUE",
            multiple=True,
            expose_value=False,
            callback=_store(""),
            help="A setting, e.g. brokers=HOST:PORT; see: streamlog help config",
        ),
        click.Option(
            ["-b", "--bootstrap-server", "bootstrap"],
            metavar="HOST:PORT",
            expose_value=False,
            callback=_store("brokers="),
            help="The same as -X brokers=HOST:PORT",
        ),
        click.Option(
            ["--format", "output_format"],
            type=click.Choice(FORMATS),
            expose_value=False,
            callback=_store("format="),
            help="How tables are written (default: text)",
        ),
        click.Option(
            ["-v", "--verbose"],
            count=True,
            expose_value=False,
            callback=_count_verbose,
            help="Say more on stderr; twice: everything",
        ),
    ]


class Command(click.Command):
    """A command with the global options and examples before its options."""

    def __init__(self, *args: Any, examples: str = "", **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.examples = examples
        taken = {word for option in self.params for word in option.opts}
        self.params += [o for o in global_options() if not taken.intersection(o.opts)]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the command's own options and, apart from them, the global ones."""
        shared = {tuple(option.opts) for option in global_options()}
        own: list[tuple[str, str]] = []
        common: list[tuple[str, str]] = []
        for option in self.get_params(ctx):
            if isinstance(option, click.Argument):
                continue  # the usage line has it
            record = option.get_help_record(ctx)
            if record is not None:
                (common if tuple(option.opts) in shared else own).append(record)
        for title, records in (("Options", own), ("Global options", common)):
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes what the command does, then its examples."""
        super().format_help_text(ctx, formatter)
        if self.examples:
            with formatter.section("Examples"):
                for line in self.examples.strip().splitlines():
                    formatter.write(f"{'':>{formatter.current_indent}}{line.strip()}\n")


class Group(click.Group):
    """A noun with its verbs."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        super().__init__(*args, **kwargs)
        self.params += global_options()

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Finds the command; an unknown one is refused with the nearest that exists."""
        if args and self.get_command(ctx, args[0]) is None:
            raise unknown_command(ctx, args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)


def unknown_command(ctx: click.Context, word: str, known: Sequence[str]) -> click.UsageError:
    """Makes the error for a command that does not exist."""
    path = ctx.command_path
    nearest = did_you_mean(word, known, f'Did you mean "{path} {{}}"?')
    hint = nearest or f"See them all: {path} --help"
    return click.UsageError(f'there is no command "{path} {word}". {hint}', ctx)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the tree: a command, where it is shown (or not), and where it lives."""

    name: str
    section: str | None
    summary: str
    module: str | None = None
    attribute: str = "command"


class Root(Group):
    """The tree: loads a command's module when the command is used."""

    def __init__(
        self,
        *args: Any,  # noqa: ANN401
        tree: Sequence[Entry],
        package: str,
        examples: str,
        **kwargs: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(*args, **kwargs)
        self.tree = {entry.name: entry for entry in tree}
        self.package = package
        self.examples = examples
        self.params.append(
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Show the version",
            )
        )

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Returns the names of all commands, also of those that are not shown."""
        return list(self.tree)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports a command."""
        entry = self.tree.get(cmd_name)
        if entry is None:
            return None
        module = importlib.import_module(f"{self.package}.{entry.module or entry.name}")
        found = getattr(module, entry.attribute)
        assert isinstance(found, click.Command), entry
        return found

    def format_help(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the first screen: at most 25 lines, from the table alone."""
        formatter.write(f"{self.help}\n")
        formatter.write(
            "Usage: streamlog COMMAND [-b HOST:PORT] [-X KEY=VALUE] [--format json] [-v]\n"
        )
        width = max(len(entry.name) for entry in self.tree.values()) + 2
        for section in SECTIONS:
            entries = [entry for entry in self.tree.values() if entry.section == section]
            if entries:
                formatter.write(f"\n{section}:\n")
            for entry in entries:
                formatter.write(f"  {entry.name:<{width}}{entry.summary}\n")
        formatter.write(f"\n{self.examples}\n")
        formatter.write("More about a command: streamlog COMMAND --help\n")


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        from importlib.metadata import version  # costs more than all else of --help

        click.echo(f"streamlog {version('streamlog')}")
        ctx.exit()

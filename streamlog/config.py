"""Settings of the command line, resolved from flag, environment and file, in this order.

A setting has one dotted name everywhere: `-X client.id=shop` as a flag, `STREAMLOG_CLIENT_ID=shop`
in the environment, and `client.id = "shop"` (or `id` in a table `[client]`) in `./streamlog.toml`
or `~/.config/streamlog/config.toml`. The first place that has a value wins, setting by setting. A
name that does not exist is refused with the nearest one that does; only unknown environment
variables pass, because others may use the prefix for their own ends.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamlog.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

ENVIRONMENT_PREFIX = "STREAMLOG_"
BROKERS_DEFAULT = ("localhost:9092",)


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its dotted name, what it means, and whether it is a whole number."""

    name: str
    meaning: str
    is_number: bool = False

    @property
    def variable(self) -> str:
        """The environment variable of this setting.

        >>> Setting("client.id", "").variable
        'STREAMLOG_CLIENT_ID'
        """
        return ENVIRONMENT_PREFIX + self.name.upper().replace(".", "_")


SETTINGS = {
    setting.name: setting
    for setting in (
        Setting("brokers", "brokers to begin with, HOST:PORT, separated by commas"),
        Setting("client.id", "names this client in the broker's logs (default: streamlog)"),
        Setting("request.timeout.ms", "longest wait for a broker's answer", is_number=True),
        Setting("connect.timeout.ms", "longest wait for a connection", is_number=True),
        Setting("data.dir", "folder of the log of an embedded or started broker"),
        Setting("state.dir", "folder of the pipelines' local state"),
        Setting("format", "how tables are written: text or json"),
    )
}


@dataclass(frozen=True, slots=True)
class Value:
    """A setting's value and where it came from, for messages."""

    text: str
    origin: str


class Settings:
    """The resolved settings; what nobody has set is None."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        self._values = dict(values)

    def text(self, name: str) -> str | None:
        """Returns a setting's value."""
        assert name in SETTINGS, name
        value = self._values.get(name)
        return value.text if value else None

    def number(self, name: str) -> int | None:
        """Returns the value of a setting that is a whole number."""
        assert SETTINGS[name].is_number, name
        value = self._values.get(name)
        return int(value.text) if value else None

    def path(self, name: str) -> Path | None:
        """Returns the value of a setting that is a folder; `~` stands for the home folder."""
        text = self.text(name)
        return Path(text).expanduser() if text else None

    @property
    def brokers(self) -> tuple[str, ...] | None:
        """The addresses that were named, or nothing."""
        text = self.text("brokers")
        if text is None:
            return None
        return tuple(address.strip() for address in text.split(",") if address.strip())

    def as_flags(self) -> list[str]:
        """Returns these settings as flags, to start a process of ours that shall have the same."""
        return [
            part
            for name, value in sorted(self._values.items())
            for part in ("-X", f"{name}={value.text}")
        ]


def load_settings(
    flags: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    files: Sequence[Path] | None = None,
) -> Settings:
    """Resolves the settings from `key=value` flags, the environment and the files."""
    if files is None:
        files = default_files()
    variables = os.environ if environment is None else environment
    layers = [values_of_flags(flags), values_of_environment(variables)]
    layers.extend(values_of_file(path) for path in files if path.is_file())
    values: dict[str, Value] = {}
    for layer in reversed(layers):
        values.update(layer)
    return Settings(values)


def default_files() -> list[Path]:
    """The files that are read, the first before the second."""
    home = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return [Path("streamlog.toml"), home / "streamlog" / "config.toml"]


def state_folder() -> Path:
    """Where a user's programs keep what must outlive a restart (XDG base directories)."""
    home = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return home / "streamlog"


def values_of_flags(flags: Sequence[str]) -> dict[str, Value]:
    """Parses `key=value` flags; the last of the same key wins.

    >>> values_of_flags(["brokers=a:1", "brokers=b:2"])["brokers"].text
    'b:2'
    """
    values = {}
    for flag in flags:
        name, equals, text = flag.partition("=")
        if not equals:
            raise UsageError(f"-X {flag} has no value", hint=f"Write it as -X {name}=VALUE")
        values[name.strip()] = _checked(name.strip(), text, f"-X {name.strip()}")
    return values


def values_of_environment(environment: Mapping[str, str]) -> dict[str, Value]:
    """Takes the variables that name a setting; an empty one counts as not set."""
    return {
        name: _checked(name, environment[setting.variable], setting.variable)
        for name, setting in SETTINGS.items()
        if environment.get(setting.variable)
    }


def values_of_file(path: Path) -> dict[str, Value]:
    """Reads a TOML file; tables and dotted keys mean the same."""
    import tomllib  # only who has such a file pays for its parser

    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not TOML: {error}") from error
    return {
        name: _checked(name, text, f"{name} in {path}")
        for name, text in _flattened(content, str(path))
    }


def _flattened(table: Mapping[str, object], path: str, prefix: str = "") -> list[tuple[str, str]]:
    entries: list[tuple[str, str]] = []
    for key, value in table.items():
        name = prefix + key
        if isinstance(value, dict):
            entries.extend(_flattened(value, path, f"{name}."))
        elif isinstance(value, list):
            entries.append((name, ",".join(str(item) for item in value)))
        elif isinstance(value, str | int) and not isinstance(value, bool):
            entries.append((name, str(value)))
        else:
            raise UsageError(f"{name} in {path} is neither text nor a whole number: {value!r}")
    return entries


def _checked(name: str, text: str, origin: str) -> Value:
    setting = SETTINGS.get(name)
    if setting is None:
        raise UsageError(
            f"{origin}: there is no setting {name!r}",
            hint=did_you_mean(name, SETTINGS) or "See them: streamlog help config",
        )
    if setting.is_number and not (text.isascii() and text.isdigit() and int(text) > 0):
        raise UsageError(f"{origin}: {text!r} is not a positive whole number")
    return Value(text, origin)


def did_you_mean(word: str, known: Iterable[str], form: str = 'Did you mean "{}"?') -> str | None:
    """Names what was probably meant by a word that is not known.

    >>> did_you_mean("ordres", ["orders", "users"])
    'Did you mean "orders"?'
    """
    import difflib  # only a mistake pays for it

    nearest = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return form.format(nearest[0]) if nearest else None

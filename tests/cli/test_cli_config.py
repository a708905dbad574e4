"""Where settings come from, and what happens to those that do not exist."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from streamlog.config import Settings, load_settings
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path


def load(flags: list[str], environment: dict[str, str], *files: Path) -> Settings:
    return load_settings(flags, environment={"HOME": "/", **environment}, files=files)


def test_a_flag_beats_the_environment_and_that_beats_the_files(tmp_path: Path) -> None:
    near, far = tmp_path / "near.toml", tmp_path / "far.toml"
    near.write_text('brokers = ["near:1", "near:2"]\n')
    far.write_text('brokers = "far:1"\n[client]\nid = "far"\n[request.timeout]\nms = 5\n')
    environment = {"STREAMLOG_BROKERS": "environment:1", "STREAMLOG_CLIENT_ID": ""}
    assert load(["brokers=flag:1"], environment, near, far).brokers == ("flag:1",)
    assert load([], environment, near, far).brokers == ("environment:1",)
    assert load([], {}, near, far).brokers == ("near:1", "near:2")
    settings = load([], environment, near, far)
    assert settings.text("client.id") == "far"
    assert settings.number("request.timeout.ms") == 5
    assert settings.text("state.dir") is None


def test_nothing_set_is_nothing() -> None:
    assert load([], {}).brokers is None


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["brokrs=a:1"], 'Did you mean "brokers"'),
        (["colour=red"], "streamlog help config"),
        (["brokers"], "-X brokers=VALUE"),
        (["request.timeout.ms=soon"], "not a positive whole number"),
        (["request.timeout.ms=0"], "not a positive whole number"),
    ],
)
def test_a_flag_that_makes_no_sense_is_refused(flags: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load(flags, {})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('broker = "a:1"', "there is no setting 'broker'.*Did you mean \"brokers\""),
        ("brokers = 1.5", "neither text nor a whole number"),
        ("brokers", "is not TOML"),
    ],
)
def test_a_file_that_makes_no_sense_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "streamlog.toml"
    path.write_text(content)
    with pytest.raises(UsageError, match=message) as raised:
        load([], {}, path)
    assert str(path) in str(raised.value)


def test_settings_become_flags_for_another_process() -> None:
    settings = load(["client.id=shop"], {"STREAMLOG_BROKERS": "a:1,b:2"})
    assert settings.as_flags() == ["-X", "brokers=a:1,b:2", "-X", "client.id=shop"]

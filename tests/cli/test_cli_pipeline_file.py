"""Finding the pipelines of a file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from streamlog.cli.pipeline_file import load_pipelines
from streamlog.errors import NotFoundError, UsageError, UserCodeError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

APP = """
from streamlog import Stream, pipeline
import neighbour

@pipeline
def first(lines: Stream[str]) -> object:
    return lines.to("first")

@pipeline(name="two")
def second(lines: Stream[str]) -> object:
    return lines.to("second")

again = first
"""


@pytest.fixture
def app(tmp_path: Path) -> Iterator[Path]:
    before, path = set(sys.modules), list(sys.path)
    (tmp_path / "neighbour.py").write_text("")
    file = tmp_path / "app_of_test.py"
    file.write_text(APP)
    yield file
    sys.path[:] = path
    for name in set(sys.modules) - before:
        if name.startswith(("app_of_test", "neighbour", "streamlog_file_")):
            del sys.modules[name]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("", ["first", "two"]),
        (":first", ["first"]),
        (":two", ["two"]),
        (":second:first", ["two", "first"]),
        (":again:first", ["first"]),
    ],
)
def test_all_or_those_that_are_named(app: Path, names: str, expected: list[str]) -> None:
    assert [pipeline.name for pipeline in load_pipelines(f"{app}{names}")] == expected


def test_a_file_may_be_called_like_a_module(app: Path) -> None:
    named_like_another = app.with_name("json.py")
    app.rename(named_like_another)
    assert len(load_pipelines(str(named_like_another))) == 2
    assert sys.modules["json"].__name__ == "json"
    assert hasattr(sys.modules["json"], "dumps")


def test_a_name_that_is_not_there_is_refused_with_the_nearest(app: Path) -> None:
    with pytest.raises(NotFoundError, match=r'no pipeline "fist"\. Did you mean "first"'):
        load_pipelines(f"{app}:fist")
    with pytest.raises(NotFoundError, match="It has first, two, second, again"):
        load_pipelines(f"{app}:x")


def test_a_file_that_is_not_there_or_has_no_pipeline(app: Path) -> None:
    with pytest.raises(NotFoundError, match="there is no file"):
        load_pipelines("nowhere.py")
    with pytest.raises(UsageError, match="has no pipeline"):
        load_pipelines(str(app.with_name("neighbour.py")))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\ny = x / 0\n", r"broken\.py:2: ZeroDivisionError: division by zero"),
        ("def f(:\n", r"broken\.py:1: SyntaxError: "),
        ("import nothing_like_this\n", r"broken\.py:1: ModuleNotFoundError: No module named"),
    ],
)
def test_a_file_that_raises_is_named_with_its_line(app: Path, text: str, message: str) -> None:
    file = app.with_name("broken.py")
    file.write_text(text)
    with pytest.raises(UserCodeError, match=message):
        load_pipelines(str(file))


def test_a_pipeline_whose_function_raises_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "app.py"
    file.write_text(
        "from streamlog import Stream, pipeline\n"
        "@pipeline\n"
        "def mistyped(words: Stream[str]) -> None:\n"
        "    word.to('out')\n"
    )
    with pytest.raises(UserCodeError, match=r"app\.py:4: NameError: name 'word' is not defined"):
        load_pipelines(str(file))

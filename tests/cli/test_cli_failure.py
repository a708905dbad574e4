"""How failures end a command."""

from __future__ import annotations

from enum import IntEnum

import click
import pytest

from streamlog.cli.failure import report
from streamlog.errors import (
    DataError,
    NotFoundError,
    PeerError,
    RefusedError,
    StorageError,
    StreamlogError,
    UnreachableError,
    UsageError,
    UserCodeError,
)


class Code(IntEnum):
    UNKNOWN_TOPIC_OR_PARTITION = 3
    SOMETHING_ELSE = 4


class CodedError(PeerError):
    def __init__(self, code: Code) -> None:
        super().__init__("the broker said no")
        self.code = code


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UserCodeError("app.py:3: no"), 1, "streamlog: app.py:3: no\n"),
        (UsageError("no", hint="Try yes"), 2, "streamlog: no. Try yes\n"),
        (UnreachableError("Nobody there"), 3, "streamlog: nobody there\n"),
        (NotFoundError("no"), 4, "streamlog: no\n"),
        (RefusedError("no"), 5, "streamlog: no\n"),
        (DataError("no"), 6, "streamlog: no\n"),
        (StorageError("no"), 6, "streamlog: no\n"),
        (StreamlogError("no"), 1, "streamlog: no\n"),
        (CodedError(Code.UNKNOWN_TOPIC_OR_PARTITION), 4, "streamlog: the broker said no\n"),
        (CodedError(Code.SOMETHING_ELSE), 1, "streamlog: the broker said no\n"),
        (PermissionError(13, "Permission denied", "/x"), 6, "streamlog: /x: permission denied\n"),
        (click.UsageError("No such option"), 2, "streamlog: no such option\n"),
        (KeyboardInterrupt(), 130, ""),
        (
            BaseExceptionGroup("", [ValueError(), ExceptionGroup("", [DataError("deep")])]),
            6,
            "streamlog: deep\n",
        ),
    ],
)
def test_a_failure_has_a_sentence_and_an_exit_code(
    error: BaseException, code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(error) == code
    out, err = capsys.readouterr()
    assert (out, err) == ("", text)


def test_an_error_of_our_own_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(ExceptionGroup("", [ZeroDivisionError("oops")])) == 70
    err = capsys.readouterr().err
    assert "ZeroDivisionError: oops" in err
    assert err.endswith("Please report it.\n")

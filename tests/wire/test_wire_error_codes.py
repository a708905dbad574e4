"""Error codes against kio's list."""

from __future__ import annotations

import pytest
from kio.schema.errors import ErrorCode as KioErrorCode

from streamlog.errors import PeerError
from streamlog.wire.error_codes import ErrorCode, KafkaError


def test_the_codes_are_kafkas() -> None:
    assert {code.name.lower(): int(code) for code in ErrorCode} == {
        code.name: int(code) for code in KioErrorCode
    }
    assert {int(code) for code in ErrorCode if code.retriable} == {
        int(code) for code in KioErrorCode if code.retriable
    }


def test_a_code_that_is_not_known_is_an_unknown_error() -> None:
    assert ErrorCode(9999) is ErrorCode.UNKNOWN_SERVER_ERROR


def test_every_code_says_something() -> None:
    assert ErrorCode.ILLEGAL_GENERATION.meaning.startswith("the group has moved on")
    assert all(code.meaning for code in ErrorCode)


def test_an_error_names_its_code_and_what_was_refused() -> None:
    error = KafkaError(3, "cannot read 'flights'", hint="create it")
    assert isinstance(error, PeerError)
    assert error.code is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert error.retriable
    assert str(error) == (
        "cannot read 'flights': there is no such topic or partition "
        "(UNKNOWN_TOPIC_OR_PARTITION). create it"
    )
    assert str(KafkaError(ErrorCode.INVALID_REQUEST)).endswith("(INVALID_REQUEST)")


def test_retriable_is_about_the_code() -> None:
    with pytest.raises(KafkaError) as caught:
        raise KafkaError(ErrorCode.MESSAGE_TOO_LARGE)
    assert not caught.value.retriable

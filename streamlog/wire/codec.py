"""A message to its bytes and back: the door to the compiled functions.

Decoding raises nothing but `DecodeError`, whatever the bytes are. Bytes behind the message are
ignored, as Kafka does: a client that sends some is still understood.
"""

from __future__ import annotations

import struct
from typing import TypeVar, cast

from streamlog.wire.compile_decoder import Decoder, decoder_of
from streamlog.wire.compile_encoder import Encoder, Piece, encoder_of
from streamlog.wire.errors import DecodeError, EncodeError
from streamlog.wire.primitives import RESPONSE_BUDGET_UNITS
from streamlog.wire.schema import schema_of

T = TypeVar("T")

_ENCODERS: dict[tuple[type, int], Encoder] = {}
_DECODERS: dict[tuple[type, int], Decoder] = {}


def encode(message: object, version: int) -> bytes:
    """The bytes of a message, without header and length.

    Raises:
        EncodeError: A value does not fit, or the message has no such version.
    """
    pieces: list[Piece] = []
    encode_into(message, version, pieces)
    return b"".join(pieces)


def encode_into(message: object, version: int, pieces: list[Piece]) -> None:
    """Append the pieces of a message; records are appended as they are, not copied.

    Raises:
        EncodeError: A value does not fit, or the message has no such version.
    """
    function = _encoder(type(message), version)
    try:
        function(message, pieces.append)
    except (struct.error, AttributeError, TypeError, UnicodeEncodeError) as error:
        name = type(message).__name__
        raise EncodeError(f"{name} version {version} cannot carry a value: {error}") from error


def decode(
    cls: type[T],
    version: int,
    buffer: memoryview,
    position: int = 0,
    budget: int = RESPONSE_BUDGET_UNITS,
) -> T:
    """Read a message that starts at `position`; its records are slices of `buffer`.

    Raises:
        DecodeError: The bytes are not such a message.
    """
    return decode_at(cls, version, buffer, position, budget)[0]


def decode_at(
    cls: type[T],
    version: int,
    buffer: memoryview,
    position: int,
    budget: int = RESPONSE_BUDGET_UNITS,
) -> tuple[T, int]:
    """Read a message that starts at `position`.

    Returns:
        The message and the position behind it.

    Raises:
        DecodeError: The bytes are not such a message.
    """
    function = _decoder(cls, version)
    try:
        message, end = function(buffer, position, len(buffer), [budget])
    except DecodeError as error:
        raise DecodeError(f"{cls.__name__} version {version}: {error.message}") from None
    except (struct.error, IndexError) as error:
        raise DecodeError(
            f"{cls.__name__} version {version} is cut off: {len(buffer)} bytes are too few"
        ) from error
    except UnicodeDecodeError as error:
        raise DecodeError(f"{cls.__name__} version {version}: a string is not UTF-8") from error
    return cast("T", message), end


def _encoder(cls: type, version: int) -> Encoder:
    function = _ENCODERS.get((cls, version))
    if function is None:
        _check_version(cls, version, EncodeError)
        function = _ENCODERS[cls, version] = encoder_of(cls, version)
    return function


def _decoder(cls: type, version: int) -> Decoder:
    function = _DECODERS.get((cls, version))
    if function is None:
        _check_version(cls, version, DecodeError)
        function = _DECODERS[cls, version] = decoder_of(cls, version)
    return function


def _check_version(cls: type, version: int, error: type[EncodeError] | type[DecodeError]) -> None:
    versions = schema_of(cls).versions
    if version not in versions:
        raise error(
            f"{cls.__name__} has no version {version}, only {versions.first} to {versions.last}"
        )

"""What can go wrong between a message and its bytes."""

from __future__ import annotations

from streamlog.errors import PeerError, UsageError


class DecodeError(PeerError):
    """The peer's bytes are not what they claim to be; the connection is of no more use."""


class UnsupportedVersionError(DecodeError):
    """The peer asked for an API or a version of it that is not served.

    Args:
        message: What was asked for and what is served.
        api_key: The API's number as the peer sent it.
        api_version: The version as the peer sent it.
        correlation_id: The request's number, for the one answer that is possible (ApiVersions).
    """

    def __init__(
        self, message: str, *, api_key: int, api_version: int, correlation_id: int
    ) -> None:
        super().__init__(message)
        self.api_key = api_key
        self.api_version = api_version
        self.correlation_id = correlation_id


class EncodeError(UsageError):
    """A value does not fit into the field or the version that it was put into."""

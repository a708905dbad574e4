"""Version negotiation: which version of each request to speak with one broker.

A broker lists its ranges in its ApiVersions answer; we know ours; the highest common version is
spoken. Our ranges are those of the wire registry, which stop at Fetch 12 and Produce 9 on purpose:
later versions name topics by id. Apache Kafka 4 has dropped old versions, which is why the ranges
of both sides matter (KIP-896).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.errors import UnsupportedVersionError
from streamlog.wire.api import API, ApiKey

if TYPE_CHECKING:
    from collections.abc import Iterable

    from streamlog.wire.messages.api_versions import ApiVersion


class BrokerVersions:
    """The versions that one broker speaks."""

    def __init__(self, listed: Iterable[ApiVersion]) -> None:
        self._ranges = {each.api_key: (each.min_version, each.max_version) for each in listed}

    def speaks(self, api: ApiKey) -> bool:
        """Whether there is a common version."""
        return self._common(api) is not None

    def choose(self, api: ApiKey, broker: str, at_most: int | None = None) -> int:
        """Returns the highest common version.

        Args:
            api: The request.
            broker: Names the broker in the error.
            at_most: A lower limit than that of our codec.
        """
        version = self._common(api, at_most)
        if version is not None:
            return version
        theirs = self._ranges.get(api)
        lowest, highest = our_range(api)
        if theirs is None:
            raise UnsupportedVersionError(f"the broker at {broker} does not know {api.name}")
        raise UnsupportedVersionError(
            f"the broker at {broker} speaks {api.name} {theirs[0]} to {theirs[1]}, "
            f"streamlog {lowest} to {highest}",
            hint="One of the two is too old for the other: upgrade it",
        )

    def _common(self, api: ApiKey, at_most: int | None = None) -> int | None:
        theirs = self._ranges.get(api)
        if theirs is None:
            return None
        lowest, highest = our_range(api)
        version = min(highest, theirs[1], highest if at_most is None else at_most)
        return version if version >= max(lowest, theirs[0]) else None


def our_range(api: ApiKey) -> tuple[int, int]:
    """Returns the versions of a request that we can send."""
    versions = API[api].versions
    return versions.first, versions.last

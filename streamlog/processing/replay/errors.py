"""What a version cannot do now."""

from __future__ import annotations

from streamlog.errors import NotFoundError, RefusedError


class VersionRefusedError(RefusedError):
    """Something about a version would break or lose something if it was done now."""


class NoVersionError(NotFoundError):
    """There is no version of this name."""

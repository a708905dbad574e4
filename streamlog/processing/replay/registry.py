"""What a cluster knows of the versions of pipelines: the records of one compacted topic.

The topic `streamlog.pipelines` has one partition. A record's key says what it is about, its value
is JSON, the newest of a key holds:

* `live/delays`: under which name `delays` runs now, if that is not its own, and whether a swap of
  another version into its place was begun and not ended;
* `version/delays.v2`: what a version was made of: the part of the sources that it replays, its
  topics, and the text of its file. `version/delays` is about the version that the pipeline began
  as: where that was, if not at the start of its sources, and, once another has taken its place,
  which topics are its alone.

Which version a name means follows from this; see `versions`. Whoever starts a pipeline reads the
topic first. It is small: a record for each version that there is. On a cluster without it, every
pipeline runs under its own name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from streamlog.errors import RefusedError, StorageError
from streamlog.processing.plan.naming import Naming
from streamlog.processing.replay.offsets import Offsets  # noqa: TC001 (msgspec needs it)

if TYPE_CHECKING:
    from collections.abc import Iterable

TOPIC: Final = "streamlog.pipelines"
_LIVE: Final = "live/"
_VERSION: Final = "version/"


class Live(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Under which name a pipeline runs."""

    runs_as: str
    """Of its group, its internal topics and its state."""
    swapping_to: str | None = None
    """A version whose results are being written into the live topics; nobody may run meanwhile."""
    retired: tuple[str, ...] = ()
    """Names under which it ran before, oldest first."""


class Version(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a version was made of."""

    pipeline: str
    begins: Offsets
    """Where it began to read the sources; a partition that is not named: at its start."""
    ends: Offsets
    """Up to where it was to read them when it was last asked to."""
    topics: tuple[str, ...] = ()
    """The topics that are its alone: repartition, changelog and output topics."""
    source: str = ""
    """A digest of its file, as far as it is code."""
    drained: bool = False
    """Whether time was moved to the end, so that open windows came out incomplete."""


class Registry:
    """All that the topic says; synchronous, fed with its records."""

    def __init__(self) -> None:
        self._live: dict[str, Live] = {}
        self._versions: dict[str, Version] = {}

    def feed(self, records: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Takes records in the order of the log.

        Raises:
            StorageError: If one is none of ours.
        """
        for key, value in records:
            try:
                self._take((key or b"").decode(), value)
            except (UnicodeDecodeError, msgspec.MsgspecError) as error:
                raise StorageError(
                    f"topic {TOPIC} has a record that streamlog does not write, with key "
                    f"{key!r}: {error}",
                    hint=f"Write a null over it, or use the newest streamlog: streamlog consume "
                    f"{TOPIC}",
                ) from error

    def _take(self, key: str, value: bytes | None) -> None:
        if key.startswith(_LIVE):
            name = key.removeprefix(_LIVE)
            if value is None:
                self._live.pop(name, None)
            else:
                self._live[name] = msgspec.json.decode(value, type=Live)
        elif key.startswith(_VERSION):
            name = key.removeprefix(_VERSION)
            if value is None:
                self._versions.pop(name, None)
            else:
                self._versions[name] = msgspec.json.decode(value, type=Version)
        # Other keys are a newer streamlog's.

    def live(self, pipeline: str) -> Live:
        """Returns what is known of a pipeline; by default that it runs under its own name."""
        return self._live.get(pipeline) or Live(runs_as=pipeline)

    def pipelines(self) -> dict[str, Live]:
        """Returns the pipelines that do not simply run under their own names."""
        return dict(self._live)

    def version(self, name: str) -> Version | None:
        """Returns what is known of a version, by its whole name."""
        return self._versions.get(name)

    def versions_of(self, pipeline: str) -> dict[str, Version]:
        """Returns the versions of a pipeline, by whole name."""
        return {
            name: each for name, each in sorted(self._versions.items()) if each.pipeline == pipeline
        }

    def naming(self, pipeline: str) -> Naming:
        """Returns the names under which a pipeline is to be run now.

        Raises:
            RefusedError: If a swap was begun and has not ended.
        """
        live = self.live(pipeline)
        if live.swapping_to is not None:
            raise RefusedError(
                f'pipeline "{pipeline}" is being swapped for {live.swapping_to}, and that has not '
                "ended",
                hint="If nobody is at it any more, finish it: streamlog replay FILE:"
                f"{pipeline} --as {live.swapping_to.rpartition('.')[2]} --swap --execute",
            )
        return Naming(live.runs_as)

    def check(self, pipeline: str, naming: Naming) -> None:
        """Refuses to run a pipeline under names that are not, or no longer, the right ones.

        Raises:
            RefusedError: Says what has happened meanwhile.
        """
        live = self.live(pipeline)
        if naming.suffix:
            if naming.name == live.runs_as:
                raise RefusedError(
                    f'{naming.name} has become the live version of "{pipeline}"',
                    hint=f"Run it under the live name: streamlog run FILE:{pipeline}",
                )
        elif self.naming(pipeline) != naming:
            raise RefusedError(
                f'pipeline "{pipeline}" runs as {live.runs_as} now, and this worker began as '
                f"{naming.name}: it was swapped meanwhile",
                hint="Start the worker again",
            )


def live_record(pipeline: str, live: Live) -> tuple[bytes, bytes | None]:
    """Returns the record that says under which name a pipeline runs."""
    value = None if live == Live(runs_as=pipeline) else msgspec.json.encode(live)
    return f"{_LIVE}{pipeline}".encode(), value


def version_record(name: str, version: Version | None) -> tuple[bytes, bytes | None]:
    """Returns the record of a version; of none, the one that forgets it."""
    value = None if version is None else msgspec.json.encode(version)
    return f"{_VERSION}{name}".encode(), value

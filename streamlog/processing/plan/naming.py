"""Under which names a pipeline runs: its own, or those of a version beside it.

A pipeline's name is its group's, and begins the names of its internal topics and of its state's
folder. A version runs the same function under a name of its own, `delays.v2`, and writes topics of
its own, `delays-per-carrier.v2`; so nothing that it does shows in what runs under the plain name.
Once it has taken the pipeline's place it keeps its name, and with it its state, but writes the
topics that everybody reads. The version that a pipeline began as bears its plain name for ever;
once another one is live, people call it `first`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from streamlog.errors import UsageError

FIRST: Final = "first"
"""What the version is called that a pipeline began as."""

_VERSION = re.compile(r"[A-Za-z0-9_-]{1,30}")


@dataclass(frozen=True, slots=True)
class Naming:
    """Names that a plan is drawn with."""

    name: str
    """Of the group, the internal topics and the state."""
    suffix: str = ""
    """Behind the names of the topics that the pipeline writes with `to`."""


def check_version(version: str) -> str:
    """Returns a version's name if it is fit to be a part of topic names.

    >>> check_version("v2")
    'v2'
    """
    if not _VERSION.fullmatch(version):
        raise UsageError(
            f"{version!r} cannot name a version: it becomes a part of the names of topics",
            hint="Use letters, digits, '_' and '-', at most 30 of them: --as v2",
        )
    if version == FIRST:
        raise UsageError(
            f'"{FIRST}" is what the version is called that a pipeline began as',
            hint="Choose another name: --as v2",
        )
    return version


def beside(pipeline: str, version: str) -> Naming:
    """Returns the names of a version that runs beside the pipeline.

    >>> beside("delays", "v2")
    Naming(name='delays.v2', suffix='.v2')
    """
    return Naming(f"{pipeline}.{version}", f".{version}")


def name_of(pipeline: str, version: str) -> str:
    """Returns the whole name of a version.

    >>> name_of("delays", "v2"), name_of("delays", FIRST)
    ('delays.v2', 'delays')
    """
    return pipeline if version == FIRST else beside(pipeline, version).name

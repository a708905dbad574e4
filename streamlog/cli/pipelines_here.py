"""Finds a pipeline by what the user typed: by its file, or by its name and the state on this disk.

A pipeline that has run here can be named without its file: each task's state has an outline of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from streamlog.config import did_you_mean, state_folder
from streamlog.errors import NotFoundError, UsageError
from streamlog.processing.replay.versions import resolve
from streamlog.processing.rewind.outline import Outline, decode_outline, outline_of
from streamlog.processing.state.retention import Retention, retention_of
from streamlog.processing.state.view import open_view, task_folders

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from streamlog.cli.pipeline_file import AnyPipeline
    from streamlog.config import Settings
    from streamlog.processing.replay.registry import Registry


@dataclass(frozen=True, slots=True)
class PipelineHere:
    """A pipeline and its state on this machine."""

    outline: Outline
    folder: Path
    retention: Retention | None
    """Known only from its file."""


def is_file(target: str) -> bool:
    """Whether a target names a file, and after a colon perhaps a pipeline in it."""
    return ":" in target or target.endswith(".py") or "/" in target


def load_one(target: str) -> AnyPipeline:
    """Returns the one pipeline that a target with a file names.

    Raises:
        UsageError: If the file has several, and none is named.
    """
    from streamlog.cli.pipeline_file import load_pipelines

    pipelines = load_pipelines(target)
    if len(pipelines) > 1:
        names = ", ".join(pipeline.name for pipeline in pipelines)
        raise UsageError(
            f"{target} has several pipelines: {names}",
            hint=f"Name one: {target.partition(':')[0]}:{pipelines[0].name}",
        )
    return pipelines[0]


def state_home(state: Path | None, settings: Settings) -> Path:
    """Returns where the state of all pipelines is."""
    return state or settings.path("state.dir") or state_folder() / "state"


def find_pipeline(
    name: str, pipeline: AnyPipeline | None, home: Path, cluster: str, registry: Registry
) -> PipelineHere:
    """Returns a pipeline of a cluster.

    Args:
        name: As the user typed it.
        pipeline: From its file, if that was named.
        home: Where the state of all pipelines is.
        cluster: The cluster's id.
        registry: Tells under which name it runs there.

    Raises:
        NotFoundError: If there is no state of such a pipeline, and no file was named.
    """
    if pipeline is not None:
        plan = pipeline.plan(registry.naming(pipeline.name))
        return PipelineHere(
            outline_of(plan), home / cluster / plan.name, retention_of(plan.options)
        )
    folder = home / cluster / resolve(registry, name).name
    outline = outline_here(folder)
    if outline is None:
        raise nothing_here(name, [home / cluster])
    return PipelineHere(outline, folder, None)


def find_state(name: str, home: Path) -> Path:
    """Returns the folder of a pipeline's state, whatever its cluster.

    Raises:
        NotFoundError: If there is none.
        UsageError: If several clusters have one of this name.
    """
    clusters = sorted(each for each in home.glob("*") if each.is_dir())
    found = [each / name for each in clusters if task_folders(each / name)]
    if not found:
        raise nothing_here(name, clusters)
    if len(found) > 1:
        names = ", ".join(each.parent.name for each in found)
        raise UsageError(
            f'there is state of "{name}" for several clusters: {names}',
            hint=f"Name one: --cluster {found[0].parent.name}",
        )
    return found[0]


def outline_here(folder: Path) -> Outline | None:
    """Returns the outline in a pipeline's state, if there is any."""
    newest: tuple[int, Outline] | None = None
    for _, _, home in task_folders(folder):
        with open_view(home) as view:
            if view is None or not view.about.outline:
                continue
            try:
                outline = decode_outline(view.about.outline)
            except msgspec.MsgspecError:
                continue
            if newest is None or view.about.time_ms > newest[0]:
                newest = (view.about.time_ms, outline)
    return None if newest is None else newest[1]


def alike(here: PipelineHere, cluster: Path) -> list[str]:
    """Returns the names of pipelines with state of a cluster that read what this one reads."""
    sources = _sources(here.outline)
    found: list[str] = []
    for folder in sorted(cluster.glob("*")):
        outline = outline_here(folder) if folder != here.folder else None
        if outline is not None and _sources(outline) == sources:
            found.append(folder.name)
    return found


def _sources(outline: Outline) -> set[str]:
    return {topic for sub in outline.subs if not sub.writers for topic in sub.input_topics}


def nothing_here(name: str, clusters: Iterable[Path]) -> NotFoundError:
    """The error of a pipeline that has no state here; names those that have."""
    known = sorted(
        {each.name for cluster in clusters for each in cluster.glob("*") if task_folders(each)}
    )
    here = f"There is state of {', '.join(known)}." if known else "There is state of no pipeline."
    meant = did_you_mean(name, known)
    return NotFoundError(
        f'there is no state of a pipeline "{name}" on this machine',
        hint=f"{meant or here} Name its file, FILE:{name}, or the folder of state: --state DIR",
    )

"""Finds the pipelines of a Python file that is named as `FILE` or `FILE:NAME:NAME`."""

from __future__ import annotations

import sys
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from streamlog.config import did_you_mean
from streamlog.errors import NotFoundError, StreamlogError, UsageError, UserCodeError
from streamlog.processing.dsl.pipeline import Pipeline

if TYPE_CHECKING:
    from types import ModuleType

AnyPipeline: TypeAlias = Pipeline[..., Any]


def load_pipelines(target: str) -> list[AnyPipeline]:
    """Imports the file and returns the pipelines that are named, or all of them, with their plans.

    What is wrong with the file is said here, before anything is started.

    Raises:
        NotFoundError: If there is no such file, or no pipeline of such a name in it.
        UsageError: If the file has no pipeline at all.
        UserCodeError: If the file or a pipeline's function raises; its line is named.
        PlanError: If a pipeline cannot be run as it is declared.
    """
    file, *names = target.split(":")
    path = Path(file)
    if not path.is_file():
        raise NotFoundError(
            f"there is no file {file}",
            hint="Name a Python file, and after a colon its pipelines: app.py:totals",
        )
    pipelines = pipelines_of(_import(path))
    if not pipelines:
        raise UsageError(
            f"{file} has no pipeline",
            hint="Put @pipeline from streamlog on a function at the top level of the file",
        )
    names = [name for name in names if name]
    chosen = {name: _named(name, pipelines, file) for name in names} if names else pipelines
    found = list({id(pipeline): pipeline for pipeline in chosen.values()}.values())
    for pipeline in found:
        _draw(pipeline, path)
    return found


def pipelines_of(module: ModuleType) -> dict[str, AnyPipeline]:
    """Returns the pipelines among a module's variables."""
    return {name: value for name, value in vars(module).items() if isinstance(value, Pipeline)}


def _named(name: str, pipelines: dict[str, AnyPipeline], file: str) -> AnyPipeline:
    by_name = {pipeline.name: pipeline for pipeline in pipelines.values()} | pipelines
    if name not in by_name:
        nearest = did_you_mean(name, by_name)
        raise NotFoundError(
            f'{file} has no pipeline "{name}"', hint=nearest or f"It has {', '.join(by_name)}"
        )
    return by_name[name]


def _import(path: Path) -> ModuleType:
    # The name must lead back to the module, for types are looked up through it.
    name = path.stem if path.stem not in sys.modules else f"streamlog_file_{path.stem}"
    spec = spec_from_file_location(name, path.resolve())
    if spec is None or spec.loader is None:
        raise UsageError(f"{path} is not a Python file", hint="Name a file that ends in .py")
    module = module_from_spec(spec)
    sys.modules[name] = module
    # As `python FILE` does: a file may import its neighbours.
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except StreamlogError:
        raise
    except Exception as error:
        raise UserCodeError(
            f"{_place(error, path)}: {type(error).__name__}: {error}",
            hint=f"See all of it: python {path}",
        ) from error
    return module


def _draw(pipeline: AnyPipeline, path: Path) -> None:
    try:
        pipeline.plan()
    except StreamlogError:
        raise
    except Exception as error:
        raise UserCodeError(
            f"{_place(error, path)}: {type(error).__name__}: {error}",
            hint=f"The function of {pipeline.name} runs once, before any record, and describes the "
            "steps; it raised this",
        ) from error


def _place(error: Exception, path: Path) -> str:
    """The line of the file in which the error was raised or through which it passed."""
    if isinstance(error, SyntaxError) and error.filename == str(path.resolve()):
        return f"{path}:{error.lineno}"
    lines = [
        frame.lineno
        for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == str(path.resolve())
    ]
    return f"{path}:{lines[-1]}" if lines else str(path)

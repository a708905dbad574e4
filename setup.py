"""Compiles the hot, pure modules with mypyc where a C compiler is there; everything works without.

`STREAMLOG_COMPILE=0` skips the compilation, `STREAMLOG_COMPILE=1` makes its failure an error.

All modules share one library, `streamlog/hot__mypyc`, so it is all or nothing: half a set would
not import, and a library from an earlier build would hide what was edited since.
"""

import os
import sys
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

COMPILED_MODULES: list[str] = [
    "streamlog/processing/dsl/moments.py",
    "streamlog/processing/failures/returned.py",
    "streamlog/processing/operators/accumulators.py",
    "streamlog/processing/operators/agenda.py",
    "streamlog/processing/operators/collected.py",
    "streamlog/processing/operators/dedup.py",
    "streamlog/processing/operators/distinct.py",
    "streamlog/processing/operators/event_time.py",
    "streamlog/processing/operators/exact_sum.py",
    "streamlog/processing/operators/fold.py",
    "streamlog/processing/operators/grouped.py",
    "streamlog/processing/operators/held.py",
    "streamlog/processing/operators/in_order.py",
    "streamlog/processing/operators/interval_join.py",
    "streamlog/processing/operators/operator.py",
    "streamlog/processing/operators/partner_rows.py",
    "streamlog/processing/operators/processor.py",
    "streamlog/processing/operators/ranked.py",
    "streamlog/processing/operators/sketch.py",
    "streamlog/processing/operators/timers.py",
    "streamlog/processing/operators/versioned_join.py",
    "streamlog/processing/operators/versions.py",
    "streamlog/processing/operators/windowed.py",
    "streamlog/processing/operators/windowed_clock.py",
    "streamlog/processing/operators/windowed_count.py",
    "streamlog/processing/operators/windowed_late.py",
    "streamlog/processing/operators/windowed_rows.py",
    "streamlog/processing/operators/windowed_sessions.py",
    "streamlog/processing/operators/windowed_sliding.py",
    "streamlog/processing/operators/windowed_spans.py",
    "streamlog/processing/repartition/outbox.py",
    "streamlog/processing/repartition/position.py",
    "streamlog/processing/repartition/writers.py",
    "streamlog/processing/state/changed_rows.py",
    "streamlog/processing/state/count_rows.py",
    "streamlog/processing/state/object_table.py",
    "streamlog/processing/state/row_table.py",
    "streamlog/processing/state/rows.py",
    "streamlog/processing/worker/merge.py",
    "streamlog/records/codec.py",
    "streamlog/records/encoding.py",
    "streamlog/records/murmur2.py",
    "streamlog/records/sizes.py",
    "streamlog/records/varint.py",
]
SHARED_LIBRARY = "streamlog.hot"
# Strictness is for `make check`; here, in an environment without the dependencies, only what the
# compiler needs counts.
MYPY_OPTIONS = ["--config-file=", "--ignore-missing-imports", "--follow-imports=silent"]
WISH = os.environ.get("STREAMLOG_COMPILE", "auto")


def give_up(error: BaseException) -> None:
    if WISH == "1":
        raise error
    print(f"streamlog: not compiled ({error}); the pure Python modules serve", file=sys.stderr)


def remove_compiled() -> None:
    for library in Path("streamlog").rglob("*.so"):
        library.unlink()


def extensions() -> list[Extension]:
    modules = [path for path in COMPILED_MODULES if os.path.exists(path)]
    if WISH == "0" or not modules:
        remove_compiled()
        return []
    if {"egg_info", "dist_info"} & set(sys.argv):
        return []  # Only metadata was asked for.
    try:
        from mypyc.build import mypycify

        found: list[Extension] = mypycify(
            [*MYPY_OPTIONS, *modules], opt_level="3", debug_level="0", group_name=SHARED_LIBRARY
        )
    except (Exception, SystemExit) as error:  # mypyc exits on type errors.
        give_up(error)
        remove_compiled()
        return []
    return found


class BuildAllOrNothing(build_ext):
    def build_extensions(self) -> None:
        remove_compiled()
        built = list(self.extensions)
        try:
            super().build_extensions()
        except Exception as error:
            give_up(error)
            for extension in built:
                Path(self.get_ext_fullpath(extension.name)).unlink(missing_ok=True)
            self.extensions.clear()


setup(ext_modules=extensions(), cmdclass={"build_ext": BuildAllOrNothing})

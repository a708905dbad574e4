"""Compiles the hot, pure modules with mypyc where a C compiler is there; everything works without.

`STREAMLOG_COMPILE=0` skips the compilation, `STREAMLOG_COMPILE=1` makes its failure an error.
"""

import os
import sys

from setuptools import Extension, setup

COMPILED_MODULES: list[str] = []


def extensions() -> list[Extension]:
    wish = os.environ.get("STREAMLOG_COMPILE", "auto")
    modules = [path for path in COMPILED_MODULES if os.path.exists(path)]
    if wish == "0" or not modules:
        return []
    try:
        from mypyc.build import mypycify

        found: list[Extension] = mypycify(modules, opt_level="3", debug_level="0")
    except Exception as error:
        if wish == "1":
            raise
        print(f"streamlog: not compiled ({error}); the pure Python modules serve", file=sys.stderr)
        return []
    for extension in found:
        # setuptools goes on without an optional extension that does not compile.
        extension.optional = wish != "1"
    return found


setup(ext_modules=extensions())

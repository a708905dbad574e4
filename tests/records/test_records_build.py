"""Installing with and without a C compiler, in a copy of the sources."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
CAN_COMPILE = (shutil.which("cc") or shutil.which("gcc")) and (
    Path(sysconfig.get_path("include")) / "Python.h"
).exists()
PROBE = "import streamlog.records.codec as codec; print(codec.__file__)"
SAMPLE = """
from streamlog.records import codec, murmur2
batch = codec.encode_batch([b"k"], [b"v"], [1])
assert codec.decode_batches(batch)[0].values == [b"v"]
assert murmur2.murmur2(b"foobar") == -790332482
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    shutil.copytree(
        ROOT / "streamlog",
        tmp_path / "streamlog",
        ignore=shutil.ignore_patterns("*.so", "__pycache__"),
    )
    return tmp_path


@pytest.fixture
def small_copy(copy: Path) -> Path:
    """One module to compile is enough to see what becomes of it without a compiler."""
    setup = copy / "setup.py"
    text, count = re.subn(
        r"(?<=COMPILED_MODULES: list\[str\] = \[\n)(.*?)(?=\])",
        '    "streamlog/records/murmur2.py",\n',
        setup.read_text(),
        flags=re.DOTALL,
    )
    assert count == 1
    setup.write_text(text)
    # It names the types of the whole package, which the compiler would look through.
    (copy / "streamlog" / "__init__.py").write_text("")
    return copy


def build(copy: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"],
        cwd=copy,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def imported_from(copy: Path) -> str:
    found = subprocess.run(
        [sys.executable, "-c", SAMPLE + PROBE],
        cwd=copy,
        env={**os.environ, "PYTHONPATH": str(copy)},
        capture_output=True,
        text=True,
        check=True,
    )
    return found.stdout.strip()


@pytest.mark.slow
def test_without_a_compiler_the_sources_serve_and_nothing_compiled_is_left(
    small_copy: Path,
) -> None:
    copy = small_copy
    stale = copy / "streamlog" / "records" / "stale.so"
    stale.touch()
    built = build(copy, CC="/bin/false", STREAMLOG_COMPILE="auto")
    assert built.returncode == 0, built.stderr
    assert "the pure Python modules serve" in built.stderr
    assert list(copy.glob("streamlog/**/*.so")) == []
    assert imported_from(copy).endswith("codec.py")


@pytest.mark.slow
def test_a_build_that_must_compile_fails_without_a_compiler(small_copy: Path) -> None:
    built = build(small_copy, CC="/bin/false", STREAMLOG_COMPILE="1")
    assert built.returncode != 0


@pytest.mark.slow
@pytest.mark.skipif(not CAN_COMPILE, reason="no C compiler or no headers of Python here")
def test_with_a_compiler_the_hot_modules_are_compiled(request: pytest.FixtureRequest) -> None:
    # A minute's work, which `make setup` may have done just now with the sources that are here.
    folder = ROOT
    if not is_compiled_as_it_is(ROOT):
        folder = request.getfixturevalue("copy")
        built = build(folder, STREAMLOG_COMPILE="1")
        assert built.returncode == 0, built.stderr
        assert is_compiled_as_it_is(folder)
    assert imported_from(folder).endswith(".so")
    assert len(list(folder.glob("streamlog/hot__mypyc*.so"))) == 1


def is_compiled_as_it_is(folder: Path) -> bool:
    """Tells whether all that is to be compiled has been, since it was written."""
    setup = folder / "setup.py"
    names = re.findall(r'^    "(streamlog/.*)\.py",$', setup.read_text(), flags=re.MULTILINE)
    assert len(names) > 10
    shared = list(folder.glob("streamlog/hot__mypyc*.so"))
    compiled = [next(folder.glob(f"{name}.*.so"), None) for name in names]
    if not shared or None in compiled:
        return False
    sources = [setup, *(folder / f"{name}.py" for name in names)]
    oldest = min(each.stat().st_mtime for each in (*shared, *compiled) if each is not None)
    return max(each.stat().st_mtime for each in sources) < oldest


def test_compilation_can_be_switched_off(copy: Path) -> None:
    built = build(copy, STREAMLOG_COMPILE="0")
    assert built.returncode == 0, built.stderr
    assert list(copy.glob("**/*.so")) == []

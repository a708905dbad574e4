"""The Python of the documentation runs, and what it claims is true.

The blocks of a page build on each other. One with a title is a file: it is imported by that name,
and a later block of the same title is added to it. Functions called `test_…` are called.
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(
    r'^```python(?: title="(?P<title>\w+)\.py")?\n(?P<code>.*?)^```$', re.DOTALL | re.MULTILINE
)
INCLUDED = re.compile(r'\s*--8<-- "(?P<path>[^"]+)"\s*')


@dataclass(frozen=True, slots=True)
class Block:
    module: str
    path: Path
    code: str


def blocks_of(page: Path) -> list[Block]:
    text = page.read_text()
    return [block_of(page, text, match) for match in BLOCK.finditer(text)]


def block_of(page: Path, text: str, match: re.Match[str]) -> Block:
    module = match["title"] or "example"
    included = INCLUDED.fullmatch(match["code"])
    if included is not None:
        path = ROOT / included["path"]
        return Block(module, path, path.read_text())
    # At its own lines, so that messages name them and the source of lambdas is found.
    lines = text.count("\n", 0, match.start("code"))
    return Block(module, page, "\n" * lines + match["code"])


def called_tests(module: ModuleType) -> dict[str, object]:
    return {name: each for name, each in vars(module).items() if name.startswith("test_")}


def pipeline_modules() -> list[str]:
    folder = str(ROOT / "pipelines")
    return [
        name
        for name, loaded in sys.modules.items()
        if str(getattr(loaded, "__file__", None)).startswith(folder)
    ]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks_of(page)], ids=lambda p: p.name)
def test_the_examples_run(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "pipelines"))
    # Other tests may have imported these files: they get their modules back.
    for name in pipeline_modules():
        monkeypatch.delitem(sys.modules, name)
    modules: dict[str, ModuleType] = {}
    for block in blocks_of(page):
        if block.module not in modules:
            modules[block.module] = ModuleType(block.module)
            monkeypatch.setitem(sys.modules, block.module, modules[block.module])
        module = modules[block.module]
        before = called_tests(module)
        exec(compile(block.code, str(block.path), "exec"), vars(module))
        for name, test in called_tests(module).items():
            if test is not before.get(name):
                assert callable(test)
                test()
    for name in pipeline_modules():
        del sys.modules[name]


def test_there_are_examples() -> None:
    assert len(blocks_of(ROOT / "docs" / "guides" / "test-a-pipeline.md")) >= 1

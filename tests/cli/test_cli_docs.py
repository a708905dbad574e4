"""The documentation names what there is: every decision, every command, no option that is not."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from streamlog.cli.main import TREE, cli

ROOT = Path(__file__).parent.parent.parent
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.glob("*.md")), *sorted((DOCS / "guides").glob("*.md"))]


def test_every_decision_is_in_the_index() -> None:
    index = (DOCS / "decisions" / "index.md").read_text()
    decisions = sorted((DOCS / "decisions").glob("0*.md"))
    assert [page.name for page in decisions if page.name not in index] == []


def test_the_menu_has_every_page() -> None:
    menu = re.findall(r"[\w/.-]+\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(menu) == sorted(page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md"))


def test_the_changelog_names_every_command() -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert [entry.name for entry in TREE if entry.section and f"`{entry.name}`" not in text] == []


def options_of(words: list[str]) -> set[str]:
    """The options of the command that words lead to; unknown words fail."""
    command: click.Command = cli
    context = click.Context(command)
    for word in words:
        if not isinstance(command, click.Group):
            break
        found = command.get_command(context, word)
        assert found is not None, f"there is no command {word}"
        command = found
    return {flag for option in command.params for flag in option.opts} | {"--help"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_that_are_shown_exist(page: Path) -> None:
    for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE):
        for line in re.findall(r"(?:^|\| |\$ |do .*\| )streamlog (\S.*)", block, re.MULTILINE):
            words = line.split("#")[0].split()
            flags = options_of([word for word in words if not word.startswith("-")])
            for flag in words:
                if re.fullmatch(r"-[A-Za-z]|--[a-z-]+", flag):
                    assert flag in flags, line

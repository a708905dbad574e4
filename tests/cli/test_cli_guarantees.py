"""The page of guarantees names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PAGE = TESTS.parent / "docs" / "guarantees.md"
CLAIM = re.compile(r"`([\w/]+\.py)` `(test_\w+)`")


def test_every_guarantee_names_a_test_that_there_is() -> None:
    text = PAGE.read_text()
    claims = CLAIM.findall(text)
    missing = [
        f"{name} in {file}"
        for file, name in claims
        if not re.search(rf"\bdef {name}\(", (TESTS / file).read_text())
    ]
    assert missing == []
    assert text.count("`test_") == len(claims) >= 40

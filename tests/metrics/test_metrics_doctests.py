"""The examples in the docstrings of the metrics are true."""

from __future__ import annotations

import doctest

import pytest

from streamlog.metrics import exposition, histogram, http


@pytest.mark.parametrize("module", [exposition, histogram, http], ids=lambda m: m.__name__)
def test_examples(module: object) -> None:
    results = doctest.testmod(module)  # type: ignore[arg-type]
    assert results.attempted
    assert results.failed == 0

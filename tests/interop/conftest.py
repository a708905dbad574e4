"""What the tests with foreign clients share: one broker of ours, and fresh names."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

import pytest
from interop_broker import own_broker

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running broker."""
    with own_broker(tmp_path_factory.mktemp("interop") / "data") as address:
        yield address


@pytest.fixture
def topic() -> str:
    """A name that nobody uses."""
    return f"t-{uuid.uuid4().hex[:12]}"


@pytest.fixture
def group() -> str:
    """A name that nobody uses."""
    return f"g-{uuid.uuid4().hex[:12]}"

from __future__ import annotations

import resource

import pytest

from streamlog.broker.descriptors import LIMIT_MIN, OWN_COUNT, share_out
from streamlog.errors import RefusedError


@pytest.mark.parametrize("limit", [LIMIT_MIN, 100, 256, 1024, 20_000, 1 << 20])
def test_what_is_shared_out_leaves_a_reserve(limit: int) -> None:
    shared = share_out(limit, connections_max=4096, files_max=256)
    assert 1 <= shared.connections <= 4096
    assert 1 <= shared.files <= 256
    # Fetches and flushes may hold as many files as are kept open.
    assert shared.connections + 2 * shared.files + OWN_COUNT <= limit


def test_without_a_limit_the_settings_hold() -> None:
    shared = share_out(resource.RLIM_INFINITY, connections_max=4096, files_max=256)
    assert (shared.connections, shared.files) == (4096, 256)


def test_too_few_are_refused_with_what_to_do() -> None:
    with pytest.raises(RefusedError, match=f"may have {LIMIT_MIN - 1} open files.*ulimit -n"):
        share_out(LIMIT_MIN - 1, connections_max=1, files_max=1)

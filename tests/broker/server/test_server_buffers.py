from __future__ import annotations

from streamlog.broker.server.buffers import KEPT_BYTES_MAX, BufferPool


def test_a_buffer_that_was_given_back_is_used_again() -> None:
    pool = BufferPool()
    first = pool.borrow(100_000)
    assert len(first) >= 100_000
    pool.give_back(first)
    assert pool.kept_bytes == len(first)
    assert pool.borrow(70_000) is first
    assert pool.kept_bytes == 0
    assert pool.borrow(70_000) is not first


def test_the_pool_keeps_no_more_than_its_bound() -> None:
    pool = BufferPool()
    for _ in range(4):
        pool.give_back(bytearray(KEPT_BYTES_MAX // 2))
    assert pool.kept_bytes <= KEPT_BYTES_MAX
    pool.give_back(pool.borrow(2 * KEPT_BYTES_MAX))
    assert pool.kept_bytes <= KEPT_BYTES_MAX


def test_a_buffer_too_large_to_keep_is_no_larger_than_asked_for() -> None:
    assert len(BufferPool().borrow(KEPT_BYTES_MAX + 1)) == KEPT_BYTES_MAX + 1

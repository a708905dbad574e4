"""The contract of `MetadataStore`, run over every store; and what LMDB adds."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from streamlog.broker.coordination.errors import (
    NodeExists,
    NodeMissing,
    NodeNotEmpty,
    StoreDamaged,
    StoreFailed,
    VersionConflict,
)
from streamlog.broker.coordination.lmdb_store import open_lmdb_store
from streamlog.broker.coordination.memory_store import MemoryStore
from streamlog.broker.coordination.store import (
    Check,
    Create,
    Delete,
    DeleteTree,
    MetadataStore,
    Operation,
    Put,
    Set,
    Versioned,
    escape,
    join_path,
    split_path,
    unescape,
)
from streamlog.doors import WorkerThreads
from streamlog.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

T = TypeVar("T")
Open: TypeAlias = Callable[[], AbstractAsyncContextManager[MetadataStore]]


@pytest.fixture(params=["memory", "lmdb"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    @asynccontextmanager
    async def open_memory() -> AsyncIterator[MetadataStore]:
        yield MemoryStore()

    @asynccontextmanager
    async def open_lmdb() -> AsyncIterator[MetadataStore]:
        async with open_lmdb_store(tmp_path / "store", WorkerThreads(2)) as store:
            yield store

    return open_memory if request.param == "memory" else open_lmdb


async def test_a_node_is_born_with_version_zero_and_counts_its_writes(open_store: Open) -> None:
    async with open_store() as store:
        assert await store.get("/a") is None
        await store.create("/a", b"one")
        assert await store.get("/a") == Versioned(b"one", 0)
        assert await store.set("/a", b"two") == 1
        assert await store.set("/a", b"three", version=1) == 2
        assert await store.get("/a") == Versioned(b"three", 2)


async def test_parents_appear_by_themselves(open_store: Open) -> None:
    async with open_store() as store:
        await store.create("/a/b/c", b"leaf")
        assert await store.get("/a/b") == Versioned(b"", 0)
        assert await store.children("/") == ["a"]
        assert await store.children("/a/b") == ["c"]
        assert await store.children("/nowhere") == []


async def test_a_node_that_is_there_cannot_be_created(open_store: Open) -> None:
    async with open_store() as store:
        await store.create("/a")
        with pytest.raises(NodeExists):
            await store.create("/a")


async def test_a_stale_version_is_refused_and_changes_nothing(open_store: Open) -> None:
    async with open_store() as store:
        await store.create("/a", b"one")
        await store.set("/a", b"two")
        for refused in (Set("/a", b"x", 0), Delete("/a", 0), Check("/a", 0)):
            with pytest.raises(VersionConflict):
                await store.transact([Put("/b", b""), refused])
        assert await store.get("/a") == Versioned(b"two", 1)
        assert await store.get("/b") is None


async def test_what_is_not_there_cannot_be_set_deleted_or_checked(open_store: Open) -> None:
    async with open_store() as store:
        for refused in (Set("/a/b", b""), Delete("/a/b"), Check("/a/b", 0)):
            with pytest.raises(NodeMissing):
                await store.transact([refused])
        assert await store.children("/") == []


async def test_a_node_with_children_is_only_deleted_as_a_tree(open_store: Open) -> None:
    async with open_store() as store:
        await store.create("/a/b/c")
        await store.create("/ab")
        with pytest.raises(NodeNotEmpty):
            await store.delete("/a")
        await store.transact([DeleteTree("/a"), DeleteTree("/never/there")])
        assert dict(await store.tree("/")) == {"/ab": Versioned(b"", 0)}
        await store.create("/a", b"again")
        assert await store.get("/a") == Versioned(b"again", 0)
        assert await store.children("/a") == []


async def test_a_transaction_sees_its_own_steps(open_store: Open) -> None:
    async with open_store() as store:
        await store.transact(
            [
                Create("/a", b"1"),
                Set("/a", b"2", 0),
                Check("/a", 1),
                Put("/a/b", b""),
                Delete("/a/b"),
            ]
        )
        assert dict(await store.tree("/a")) == {"/a": Versioned(b"2", 1)}


async def test_a_tree_is_read_whole_and_sorted(open_store: Open) -> None:
    async with open_store() as store:
        await store.transact([Put("/g/b", b"2"), Put("/g/a/x", b"1"), Put("/gg", b"no")])
        tree = await store.tree("/g")
        assert list(tree) == ["/g", "/g/a", "/g/a/x", "/g/b"]
        assert tree["/g/a/x"].value == b"1"
        assert list(await store.tree("/g/b")) == ["/g/b"]
        assert list(await store.tree("/none")) == []


async def test_concurrent_transactions_apply_in_the_order_of_their_calls(open_store: Open) -> None:
    async with open_store() as store:
        conflicts: list[int] = []

        async def write(number: int) -> None:
            try:
                await store.transact([Put("/last", b""), Create("/once", str(number).encode())])
            except NodeExists:
                conflicts.append(number)

        async with trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(write, number)
        assert len(conflicts) == 49
        # Refused ones undid their own steps alone: only the winner's write of /last is there.
        assert await store.get("/last") == Versioned(b"", 0)


@pytest.mark.parametrize("path", ["", "a", "/a/", "//a", "/./a", "/a/..", "/a\0b", "/" + "x" * 481])
async def test_paths_that_no_node_can_have_are_refused(open_store: Open, path: str) -> None:
    async with open_store() as store:
        with pytest.raises(UsageError):
            await store.create(path)
        with pytest.raises(UsageError):
            await store.get(path)


async def test_the_root_is_not_written(open_store: Open) -> None:
    async with open_store() as store:
        with pytest.raises(UsageError):
            await store.transact([DeleteTree("/")])


async def test_a_path_may_be_longer_than_a_key_of_lmdb(open_store: Open) -> None:
    path = "/" + "/".join(letter * 400 for letter in "abcdef")
    async with open_store() as store:
        await store.create(path, b"deep")
        assert await store.get(path) == Versioned(b"deep", 0)
        assert list(await store.tree(path)) == [path]


NAMES = st.sampled_from(["/a", "/a/b", "/a/b/c", "/b", "/b/x"])
VERSIONS = st.none() | st.integers(0, 2)
OPERATIONS = st.one_of(
    st.builds(Create, NAMES, st.binary(max_size=2)),
    st.builds(Put, NAMES, st.binary(max_size=2)),
    st.builds(Set, NAMES, st.binary(max_size=2), VERSIONS),
    st.builds(Delete, NAMES, VERSIONS),
    st.builds(DeleteTree, NAMES),
    st.builds(Check, NAMES, st.integers(0, 2)),
)


async def outcome(store: MetadataStore, operations: list[Operation]) -> str:
    try:
        await store.transact(operations)
    except VersionConflict as error:
        return type(error).__name__
    return "done"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(OPERATIONS, min_size=1, max_size=4), max_size=12))
def test_lmdb_does_what_memory_does(
    tmp_path_factory: pytest.TempPathFactory, transactions: list[list[Operation]]
) -> None:
    async def main() -> None:
        path = tmp_path_factory.mktemp("store")
        memory = MemoryStore()
        async with open_lmdb_store(path, WorkerThreads(1)) as lmdb:
            for operations in transactions:
                assert await outcome(lmdb, operations) == await outcome(memory, operations)
                assert await lmdb.tree("/") == await memory.tree("/")

    trio.run(main)


async def test_what_returned_is_there_after_reopening(tmp_path: Path) -> None:
    async with open_lmdb_store(tmp_path, WorkerThreads(1)) as store:
        await store.create("/a/b", b"kept")
        await store.set("/a/b", b"changed")
    async with open_lmdb_store(tmp_path, WorkerThreads(1)) as store:
        assert await store.get("/a/b") == Versioned(b"changed", 1)
        await store.create("/a/c", b"new")
        assert await store.children("/a") == ["b", "c"]


async def test_what_returned_is_there_for_whoever_copies_the_file_at_that_moment(
    tmp_path: Path,
) -> None:
    async with open_lmdb_store(tmp_path / "live", WorkerThreads(1)) as store:
        await store.create("/a", b"durable")
        copy = tmp_path / "copy"
        copy.mkdir()
        (copy / "data.mdb").write_bytes((tmp_path / "live" / "data.mdb").read_bytes())
        async with open_lmdb_store(copy, WorkerThreads(1)) as copied:
            assert await copied.get("/a") == Versioned(b"durable", 0)


class CountingThreads:
    """Real threads that count the calls."""

    def __init__(self) -> None:
        self.calls = 0
        self._threads = WorkerThreads(1)

    async def run(self, call: Callable[[], T]) -> T:
        self.calls += 1
        return await self._threads.run(call)


async def test_concurrent_writers_share_transactions(tmp_path: Path) -> None:
    threads = CountingThreads()
    async with open_lmdb_store(tmp_path, threads) as store:
        before = threads.calls
        async with trio.open_nursery() as nursery:
            for number in range(200):
                nursery.start_soon(store.create, f"/n/{number}")
        assert threads.calls - before <= 3
        assert len(await store.children("/n")) == 200


async def test_a_full_map_grows_and_nothing_of_the_batch_is_lost(tmp_path: Path) -> None:
    async with open_lmdb_store(tmp_path, WorkerThreads(1), map_bytes=128 * 1024) as store:
        async with trio.open_nursery() as nursery:
            for number in range(100):
                nursery.start_soon(store.create, f"/big/{number:03}", bytes(20_000))
        tree = await store.tree("/big")
        assert len(tree) == 101
        assert all(
            node == Versioned(bytes(20_000), 0) for path, node in tree.items() if path > "/big/"
        )


async def test_growth_ends_at_its_bound_with_an_error_and_the_store_lives_on(
    tmp_path: Path,
) -> None:
    async with open_lmdb_store(
        tmp_path, WorkerThreads(1), map_bytes=128 * 1024, map_bytes_max=256 * 1024
    ) as store:
        await store.create("/small", b"kept")
        with pytest.raises(StoreFailed, match="has reached 262144 bytes"):
            await store.create("/big", bytes(400_000))
        assert await store.get("/small") == Versioned(b"kept", 0)
        assert await store.get("/big") is None
        await store.create("/other", b"fine")


async def test_a_store_that_outgrew_its_first_map_opens_again(tmp_path: Path) -> None:
    async with open_lmdb_store(tmp_path, WorkerThreads(1), map_bytes=128 * 1024) as store:
        await store.create("/big", bytes(1_000_000))
    async with open_lmdb_store(tmp_path, WorkerThreads(1), map_bytes=128 * 1024) as store:
        await store.create("/more", bytes(1_000_000))
        assert len(await store.tree("/")) == 2


async def test_a_file_that_is_no_store_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a store" * 1000)
    with pytest.raises(StoreDamaged, match="holds no coordination store"):
        async with open_lmdb_store(tmp_path, WorkerThreads(1)):
            raise AssertionError("opened")


async def test_calls_after_the_end_fail(tmp_path: Path) -> None:
    async with open_lmdb_store(tmp_path, WorkerThreads(1)) as store:
        pass
    with pytest.raises(StoreFailed):
        await store.get("/a")


async def test_leaving_finishes_what_was_begun_even_when_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with (
            open_lmdb_store(tmp_path, WorkerThreads(1)) as store,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(store.create, "/begun")
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    async with open_lmdb_store(tmp_path, WorkerThreads(1)) as store:
        assert await store.get("/begun") is not None


@given(st.text(max_size=40))
def test_any_text_makes_a_node_name(text: str) -> None:
    name = escape(text)
    assert unescape(name) == text
    assert split_path("/" + name) == [name]


def test_paths_of_names_do_not_collide() -> None:
    assert join_path("consumers", "a/offsets") != join_path("consumers", "a", "offsets")
    assert join_path("consumers", "%") == "/consumers/%25"
    assert join_path("consumers", "") == "/consumers/%"

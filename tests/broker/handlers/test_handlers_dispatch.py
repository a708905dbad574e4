from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest
from handlers_harness import running

from streamlog.broker.handlers.dispatch import HANDLERS
from streamlog.wire.api import API, ApiKey
from streamlog.wire.error_codes import ErrorCode
from streamlog.wire.errors import DecodeError
from streamlog.wire.framing import encode_request
from streamlog.wire.messages.api_versions import ApiVersionsRequest
from streamlog.wire.messages.find_coordinator import (
    Coordinator,
    FindCoordinatorRequest,
    FindCoordinatorResponse,
)
from streamlog.wire.messages.metadata import MetadataRequest

if TYPE_CHECKING:
    from pathlib import Path


def test_every_api_that_is_declared_has_a_handler() -> None:
    assert set(HANDLERS) == set(API)


@pytest.mark.parametrize("version", range(5))
async def test_api_versions_lists_everything(tmp_path: Path, version: int) -> None:
    async with running(tmp_path) as broker:
        request = ApiVersionsRequest(
            client_software_name="test", client_software_version="1.0-beta.2"
        )
        response = await broker.ask(request, version)
        assert response.error_code == 0
        ranges = {item.api_key: (item.min_version, item.max_version) for item in response.api_keys}
        assert ranges[ApiKey.PRODUCE] == (0, 9)
        assert ranges[ApiKey.FETCH] == (4, 12)
        assert len(ranges) == len(API)


async def test_a_newer_api_versions_is_answered_in_the_form_of_version_0(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        head = struct.pack(">hhih", ApiKey.API_VERSIONS, 99, 1234, -1)
        answer = await broker.send(struct.pack(">i", len(head)) + head)
        assert answer is not None
        assert struct.unpack(">iihihhh", answer) == (16, 1234, 35, 1, 18, 0, 4)


async def test_a_client_name_that_cannot_be_a_label_is_refused(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        request = ApiVersionsRequest(client_software_name="\x1b[2J", client_software_version="1")
        assert (await broker.ask(request, 3)).error_code == ErrorCode.INVALID_REQUEST


@pytest.mark.parametrize(
    ("key", "version", "named"),
    [(999, 0, "API 999"), (ApiKey.FETCH, 99, "99 of FETCH"), (ApiKey.PRODUCE, 2, "2 of PRODUCE")],
)
async def test_what_is_not_served_closes_the_connection_and_is_named(
    tmp_path: Path, key: int, version: int, named: str
) -> None:
    async with running(tmp_path) as broker:
        head = struct.pack(">hhih", key, version, 1, -1)
        with pytest.raises(DecodeError, match=named):
            await broker.send(struct.pack(">i", len(head)) + head)


async def test_a_request_that_is_cut_off_closes_the_connection(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        frame = encode_request(MetadataRequest(topics=None), 12, 1, "test")
        for size in range(12, len(frame)):
            with pytest.raises(DecodeError):
                await broker.send(frame[:size])


@pytest.mark.parametrize("version", range(5))
async def test_this_broker_coordinates_groups_and_nobody_coordinates_transactions(
    tmp_path: Path, version: int
) -> None:
    async with running(tmp_path) as broker:
        request = FindCoordinatorRequest(key="g", coordinator_keys=["g", "h"])
        response = await broker.ask(request, version)
        found: list[Coordinator | FindCoordinatorResponse]
        found = [*response.coordinators] if version >= 4 else [response]
        assert [(item.node_id, item.host, item.port) for item in found] == [
            (1, "192.0.2.2", 9092)
        ] * len(found)
        if version >= 1:
            request.key_type = 1
            response = await broker.ask(request, version)
            found = [*response.coordinators] if version >= 4 else [response]
            code = ErrorCode.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
            assert {item.error_code for item in found} == {code}


async def test_requests_are_counted_by_api(tmp_path: Path) -> None:
    async with running(tmp_path) as broker:
        await broker.ask(MetadataRequest(topics=None))
        await broker.ask(MetadataRequest(topics=None))
        assert broker.dispatcher.requests_by_api[ApiKey.METADATA] == 2

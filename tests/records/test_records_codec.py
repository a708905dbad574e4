from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from records_flavours import flavours
from records_samples import CODECS, batch, columns, record, varint

from streamlog.records.batch import Codec, read_header, restamp_append_time, stamp
from streamlog.records.columns import Columns
from streamlog.records.control import ControlType, control_key, control_value
from streamlog.records.errors import BadColumnsError, CorruptRecordError

if TYPE_CHECKING:
    from types import ModuleType

    from streamlog.records.columns import Headers

both = pytest.mark.parametrize("codec", flavours("streamlog.records.codec"))

THREE = Columns(
    [100, 101, 102],
    [5000, 4000, 7000],
    [b"a", None, b"c"],
    [b"one", b"two", None],
    [(), (("h", b"1"), ("h", None)), ()],
)


def encode(module: ModuleType, data: Columns, **options: object) -> bytearray:
    made = module.encode_batch(data.keys, data.values, data.timestamps, data.headers, **options)
    assert isinstance(made, bytearray)
    return made


def strip(data: Columns) -> Columns:
    """A column of headers that are all empty comes back as none."""
    has_any = data.headers is not None and any(data.headers)
    return Columns(
        data.offsets, data.timestamps, data.keys, data.values, data.headers if has_any else None
    )


@both
@given(data=columns(), compression=st.sampled_from(CODECS))
def test_columns_survive_a_batch(codec: ModuleType, data: Columns, compression: Codec) -> None:
    made = encode(codec, data, codec=compression, base_offset=data.offsets[0])
    decoded, next_offset = codec.decode_batches(made)
    assert decoded == data
    assert decoded.headers == strip(data).headers
    assert next_offset == data.offsets[-1] + 1


a_few_headers = st.lists(
    st.tuples(
        st.sampled_from(["", "a", "b", "é"]), st.sampled_from([None, b"", b"1", b"2", b"22"])
    ),
    max_size=2,
).map(tuple)


@both
@given(rows=st.lists(a_few_headers, min_size=1, max_size=30))
def test_headers_that_resemble_the_last_ones_survive(
    codec: ModuleType, rows: list[Headers]
) -> None:
    """What is remembered of the last header must not be taken for another one."""
    empty: list[bytes | None] = [None] * len(rows)
    data = Columns(list(range(len(rows))), [0] * len(rows), empty, empty, rows)
    decoded, _ = codec.decode_batches(encode(codec, data))
    assert decoded.headers == strip(data).headers


@both
@pytest.mark.parametrize("length", [0, 2, 3])
def test_a_record_that_ends_before_its_only_header_is_corrupt(
    codec: ModuleType, length: int
) -> None:
    tail = varint(1) + varint(1) + b"h" + varint(2) + b"12"
    good, bad = record(tail=tail), record(offset_delta=1, tail=tail)
    bad = varint(len(bad) - 1 - len(tail) + length) + bad[1:]
    with pytest.raises(CorruptRecordError):
        codec.decode_batches(batch(good + bad, 2))


@both
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_is_read_and_the_columns_own_their_bytes(
    codec: ModuleType, kind: type[bytes]
) -> None:
    made = encode(codec, THREE, base_offset=100)
    decoded, _ = codec.decode_batches(kind(made))
    made[:] = bytes(len(made))
    assert decoded == THREE
    assert all(type(value) is bytes for value in [*decoded.keys, *decoded.values] if value)


@both
def test_a_batch_is_these_bytes(codec: ModuleType) -> None:
    made = encode(
        codec,
        THREE,
        base_offset=100,
        leader_epoch=7,
        producer_id=4000,
        producer_epoch=3,
        base_sequence=12,
        is_transactional=True,
    )
    assert made.hex() == (
        "0000000000000064" "00000057" "00000007" "02" "608fb83e" "0010" "00000002"
        "0000000000001388" "0000000000001b58" "0000000000000fa0" "0003" "0000000c" "00000003"
        "14" "00" "00" "00" "0261" "066f6e65" "00"
        "22" "00" "cf0f" "02" "01" "0674776f" "04" "0268" "0231" "0268" "01"
        "10" "00" "a01f" "04" "0263" "01" "00"
    )  # fmt: skip


@both
def test_a_batch_written_by_hand_is_read(codec: ModuleType) -> None:
    body = record(0, 5, None, b"x") + record(3, -7, b"k", None, tail=varint(1) + b"\x02h\x01")
    decoded, next_offset = codec.decode_batches(
        batch(body, 2, base_offset=50, last_offset_delta=9, base_timestamp=1000)
    )
    assert decoded == Columns(
        [50, 53], [1005, 993], [None, b"k"], [b"x", None], [(), (("h", None),)]
    )
    assert next_offset == 60


@both
@pytest.mark.parametrize(
    ("keys", "values", "timestamps", "headers"),
    [
        ([], [], [], None),
        ([None], [], [1], None),
        ([None], [b""], [], None),
        ([None], [b""], [1], []),
        ([None], [b""], [1 << 63], None),
        ([None, None], [b"", b""], [0, -(1 << 63)], None),
        ([None], ["text"], [1], None),
        ([5], [b""], [1], None),
        ([None], [b""], [None], None),
        ([None], [b""], ["1"], None),
        ([None], [b""], [1], [((b"name", b""),)]),
        ([None], [b""], [1], [(("name", "text"),)]),
        ([None], [b""], [1], [(("\ud800", b""),)]),
    ],
)
def test_columns_that_cannot_be_a_batch_are_refused(
    codec: ModuleType,
    keys: list[bytes | None],
    values: list[bytes | None],
    timestamps: list[int],
    headers: object,
) -> None:
    with pytest.raises(BadColumnsError):
        codec.encode_batch(keys, values, timestamps, headers)


@both
def test_numbers_of_every_varint_length_survive(codec: ModuleType) -> None:
    edges = [0, 63, 64, 8191, 8192, 1 << 20, (1 << 20) - 1, 1 << 27, 1 << 34, 1 << 41, 1 << 48]
    edges += [1 << 55, (1 << 62) - 2000]
    timestamps = [1000, *(1000 + edge for edge in edges), *(1000 - edge for edge in edges)]
    sizes = [0, 1, 63, 64, 8191, 8192, 1 << 20]
    values: list[bytes | None] = [bytes(size) for size in sizes]
    values += [None] * (len(timestamps) - len(values))
    data = Columns(list(range(len(timestamps))), timestamps, list(reversed(values)), values)
    assert codec.decode_batches(encode(codec, data))[0] == data


@both
@pytest.mark.parametrize("first", [-1, 1])
def test_timestamps_as_far_apart_as_they_can_be_survive(codec: ModuleType, first: int) -> None:
    far = first * ((1 << 62) - 1)
    data = Columns([0, 1, 2], [far, -far, -1], [None] * 3, [b"v"] * 3)
    assert codec.decode_batches(encode(codec, data))[0] == data


@both
def test_a_batch_of_many_records_survives(codec: ModuleType) -> None:
    count = 20_000
    data = Columns(list(range(count)), [1] * count, [None] * count, [b"v"] * count)
    assert codec.decode_batches(encode(codec, data))[0] == data


@both
@given(start=st.integers(95, 110))
def test_records_before_the_fetch_offset_are_dropped(codec: ModuleType, start: int) -> None:
    made = encode(codec, THREE, base_offset=100)
    stamp(made, 0, 100, 1)
    more = encode(codec, THREE, base_offset=103)
    decoded, next_offset = codec.decode_batches(made + more, fetch_offset=start)
    assert decoded.offsets == [offset for offset in range(100, 106) if offset >= start]
    assert next_offset == max(106, start)


@both
def test_batches_with_and_without_headers_are_joined(codec: ModuleType) -> None:
    plain = Columns([103], [1], [b"k"], [b"v"])
    buffer = encode(codec, THREE, base_offset=100) + encode(codec, plain, base_offset=103)
    decoded, _ = codec.decode_batches(buffer)
    assert THREE.headers is not None
    assert decoded.headers == [*THREE.headers, ()]
    decoded, _ = codec.decode_batches(
        encode(codec, plain, base_offset=3) + encode(codec, THREE, base_offset=100)
    )
    assert decoded.headers == [(), *THREE.headers]


@both
def test_a_partial_tail_is_ignored(codec: ModuleType) -> None:
    made = encode(codec, THREE, base_offset=100)
    for cut in range(len(made)):
        decoded, next_offset = codec.decode_batches(made + made[:cut], fetch_offset=100)
        assert decoded == THREE
        assert next_offset == 103
        assert codec.decode_batches(made[:cut], fetch_offset=100) == (Columns.empty(), 100)


@both
def test_control_batches_are_stepped_over(codec: ModuleType) -> None:
    marker = codec.encode_batch(
        [control_key(ControlType.COMMIT)],
        [control_value(1)],
        [1],
        base_offset=103,
        is_control=True,
        is_transactional=True,
    )
    made = encode(codec, THREE, base_offset=100) + marker
    assert codec.decode_batches(made) == (THREE, 104)
    assert codec.decode_batches(marker, fetch_offset=103) == (Columns.empty(), 104)
    header = read_header(marker)
    assert header.is_control
    assert codec.decode_batch(marker, 0, header).keys == [control_key(ControlType.COMMIT)]


@both
def test_a_batch_that_compaction_emptied_moves_the_offset_on(codec: ModuleType) -> None:
    empty = batch(b"", 0, base_offset=10, last_offset_delta=4)
    assert codec.decode_batches(empty, fetch_offset=10) == (Columns.empty(), 15)


@both
def test_append_time_goes_to_every_record(codec: ModuleType) -> None:
    made = encode(codec, THREE, base_offset=100, codec=Codec.ZSTD)
    restamp_append_time(made, 0, 99_000)
    decoded, _ = codec.decode_batches(made)
    assert decoded.timestamps == [99_000] * 3
    assert decoded.values == THREE.values


@both
def test_decoding_stops_between_batches_when_enough_is_in_memory(codec: ModuleType) -> None:
    data = Columns([0], [1], [None], [bytes(50_000)])
    batches = [encode(codec, data, base_offset=at, codec=Codec.GZIP) for at in range(10)]
    buffer = b"".join(batches)
    decoded, next_offset = codec.decode_batches(buffer, bytes_max=100_000)
    assert decoded.offsets == [0, 1]
    assert next_offset == 2
    assert codec.decode_batches(buffer, fetch_offset=next_offset)[0].offsets == list(range(2, 10))


@both
def test_header_keys_that_are_no_utf8_do_not_block_the_partition(codec: ModuleType) -> None:
    body = record(tail=varint(1) + varint(2) + b"\xffk" + varint(0))
    decoded, _ = codec.decode_batches(batch(body, 1))
    assert decoded.headers == [(("\ufffdk", b""),)]


@both
@given(base=st.integers(-1, (1 << 63) - 1))
@example(base=(1 << 63) - 1)
def test_timestamps_reach_to_the_last_of_64_bits(codec: ModuleType, base: int) -> None:
    decoded, _ = codec.decode_batches(batch(record(), 1, base_timestamp=base))
    assert decoded.timestamps == [base]

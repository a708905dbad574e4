"""The same batches through other codecs: golden bytes, aiokafka, kafka-python and kio."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest
from aiokafka.record.default_records import DefaultRecordBatch as AiokafkaBatch
from aiokafka.record.default_records import DefaultRecordBatchBuilder as AiokafkaBuilder
from hypothesis import given
from hypothesis import strategies as st
from kafka.record.default_records import DefaultRecordBatch as KafkaPythonBatch
from kafka.record.default_records import DefaultRecordBatchBuilder as KafkaPythonBuilder
from kio.records.readers import read_batch
from kio.records.schema import NewRecordBatch, Record, RecordHeader
from kio.records.writers import write_batch
from kio.static.primitive import TZAwareMicros, i8, i16, i32, i64
from records_flavours import flavours
from records_golden import BATCHES, HEADERS, KEYS, VALUES
from records_samples import CODECS, columns

from streamlog.records.batch import Codec, read_header, verify_crc
from streamlog.records.columns import Columns

if TYPE_CHECKING:
    from types import ModuleType

both = pytest.mark.parametrize("codec", flavours("streamlog.records.codec"))
KAFKA_PYTHON_CODECS = [Codec.NONE, Codec.GZIP]


@both
@pytest.mark.parametrize(("client", "compression"), BATCHES)
def test_batches_of_java_and_librdkafka_are_read(
    codec: ModuleType, client: str, compression: str
) -> None:
    data = BATCHES[client, compression]
    header = read_header(data)
    verify_crc(data, 0, header)
    assert header.size_bytes == len(data)
    assert header.codec is Codec[compression.upper()]
    decoded, next_offset = codec.decode_batches(data)
    assert (decoded.keys, decoded.values, decoded.headers) == (KEYS, VALUES, HEADERS[client])
    assert decoded.offsets == [0, 1, 2]
    assert max(decoded.timestamps) == header.max_timestamp
    assert next_offset == 3


def rows(batch: object) -> list[tuple[object, ...]]:
    return [
        (record.offset, record.timestamp, record.key, record.value, tuple(record.headers))
        for record in batch  # type: ignore[attr-defined]
    ]


@both
@given(data=columns(), compression=st.sampled_from(CODECS))
def test_aiokafka_reads_what_we_write(codec: ModuleType, data: Columns, compression: Codec) -> None:
    made = codec.encode_batch(
        data.keys,
        data.values,
        data.timestamps,
        data.headers,
        codec=compression,
        base_offset=data.offsets[0],
    )
    theirs = AiokafkaBatch(bytes(made))
    assert theirs.validate_crc()
    assert rows(theirs) == list(data.rows())


@both
@given(data=columns(), compression=st.sampled_from(KAFKA_PYTHON_CODECS))
def test_kafka_python_reads_what_we_write(
    codec: ModuleType, data: Columns, compression: Codec
) -> None:
    made = codec.encode_batch(
        data.keys,
        data.values,
        data.timestamps,
        data.headers,
        codec=compression,
        base_offset=data.offsets[0],
    )
    theirs = KafkaPythonBatch(bytes(made))
    assert theirs.validate_crc()
    assert rows(theirs) == list(data.rows())


@both
@pytest.mark.parametrize(
    ("builder_class", "codecs"),
    [
        pytest.param(AiokafkaBuilder, CODECS, id="aiokafka"),
        pytest.param(KafkaPythonBuilder, KAFKA_PYTHON_CODECS, id="kafka-python"),
    ],
)
@given(data=columns(), choice=st.data())
def test_we_read_what_they_write_and_write_the_same_bytes(
    codec: ModuleType,
    builder_class: type[AiokafkaBuilder],
    codecs: list[Codec],
    data: Columns,
    choice: st.DataObject,
) -> None:
    compression = choice.draw(st.sampled_from(codecs))
    # aiokafka's compiled builder takes a first timestamp of -1 for "no record yet".
    data.timestamps[0] = max(data.timestamps[0], 0)
    builder = builder_class(
        magic=2,
        compression_type=compression,
        is_transactional=0,
        producer_id=7,
        producer_epoch=1,
        base_sequence=3,
        batch_size=1 << 30,
    )
    for index, (_, timestamp, key, value, headers) in enumerate(data.rows()):
        builder.append(index, timestamp, key, value, list(headers))
    theirs = bytes(builder.build())
    decoded, _ = codec.decode_batches(theirs)
    expected = Columns(
        list(range(len(data))), data.timestamps, data.keys, data.values, data.headers
    )
    assert decoded == expected
    header = read_header(theirs)
    if header.codec is Codec.NONE:
        ours = codec.encode_batch(
            data.keys,
            data.values,
            data.timestamps,
            data.headers,
            leader_epoch=header.leader_epoch,
            producer_id=7,
            producer_epoch=1,
            base_sequence=3,
        )
        assert ours.hex() == theirs.hex()


whole_seconds = st.integers(0, 2_000_000_000).map(lambda seconds: seconds * 1000)


@both
@given(data=columns(count_max=4), first=whole_seconds)
def test_kio_agrees_both_ways(codec: ModuleType, data: Columns, first: int) -> None:
    stamps = [first + 1000 * index for index in range(len(data))]
    ours = codec.encode_batch(
        data.keys,
        data.values,
        stamps,
        data.headers,
        base_offset=data.offsets[0],
        leader_epoch=0,
        producer_id=1,
        producer_epoch=1,
        base_sequence=1,
    )
    theirs, _ = read_batch(bytes(ours), 0)
    assert [(r.offset, r.key, r.value) for r in theirs.records] == list(
        zip(data.offsets, data.keys, data.values, strict=True)
    )
    assert [int(r.timestamp.timestamp() * 1000) for r in theirs.records] == stamps
    records = tuple(
        Record(
            attributes=i8(0),
            timestamp=TZAwareMicros.parse(datetime.fromtimestamp(stamp / 1000, UTC)),
            offset=i64(offset),
            key=key,
            value=value,
            headers=tuple(
                RecordHeader(key=name.encode(), value=content) for name, content in headers
            ),
        )
        for stamp, (offset, _, key, value, headers) in zip(stamps, data.rows(), strict=True)
    )
    written = io.BytesIO()
    write_batch(
        written,
        NewRecordBatch(
            producer_id=i64(1),
            producer_epoch=i16(1),
            base_sequence=i32(1),
            records=records,
            attributes=i16(0),
        ),
    )
    made = bytearray(written.getvalue())
    made[:8] = data.offsets[0].to_bytes(8, "big")
    assert made.hex() == ours.hex()

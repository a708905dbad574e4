"""Avro, Protobuf, pydantic models and dataclasses: alone, inside others, and through a pipeline."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from io import BytesIO
from typing import TYPE_CHECKING, Annotated, Any

import fastavro
import msgspec
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from pydantic import BaseModel, Field

from streamlog import Output, Stream, Topic, last, pipeline, tumbling
from streamlog.errors import UsageError
from streamlog.serde.avro import AvroSerde
from streamlog.serde.default import serde_for
from streamlog.serde.errors import SerdeError
from streamlog.serde.json import JsonSerde
from streamlog.serde.msgpack import MsgpackSerde
from streamlog.serde.protobuf import ProtobufSerde
from streamlog.testing import drive

ORDER = {
    "type": "record",
    "name": "Order",
    "fields": [
        {"name": "item", "type": "string"},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "cents", "type": "long", "default": 0},
    ],
}
OLD_ORDER = {**ORDER, "fields": ORDER["fields"][:2]}
AT = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Order(msgspec.Struct):
    item: str
    at: datetime
    cents: int = 0


class Customer(BaseModel):
    name: str
    age: int = Field(ge=0, alias="Age")


@dataclass
class Visit:
    customer: Customer
    shop: str


def message_class() -> Any:  # noqa: ANN401 (what protoc would have written)
    file = descriptor_pb2.FileDescriptorProto(name="sale.proto", package="t", syntax="proto3")
    sale = file.message_type.add(name="Sale")
    for number, (name, kind) in enumerate((("item", 9), ("cents", 3)), start=1):
        sale.field.add(name=name, number=number, type=kind, label=1)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("t.Sale"))


if TYPE_CHECKING:

    class Sale:
        """As protoc's stubs would have it."""

        item: str
        cents: int

        def __init__(self, *, item: str = "", cents: int = 0) -> None: ...
        def SerializeToString(self) -> bytes: ...
else:
    Sale = message_class()


def test_avro_is_what_fastavro_writes_and_reads() -> None:
    serde = AvroSerde(Order, ORDER)
    data = serde.encode(Order("tea", AT, 5))
    assert data is not None
    assert fastavro.schemaless_reader(BytesIO(data), ORDER, None) == {
        "item": "tea",
        "at": AT,
        "cents": 5,
    }
    assert serde.decode(data) == Order("tea", AT, 5)


def test_avro_in_confluents_frame_is_resolved_from_its_writers_schema() -> None:
    serde = AvroSerde(Order, ORDER, schema_id=7, writers={3: OLD_ORDER})
    assert (serde.encode(Order("tea", AT)) or b"")[:5] == b"\x00\x00\x00\x00\x07"
    old = BytesIO()
    fastavro.schemaless_writer(old, OLD_ORDER, {"item": "tea", "at": AT})
    assert serde.decode(struct.pack(">bI", 0, 3) + old.getvalue()) == Order("tea", AT, 0)
    with pytest.raises(SerdeError, match="written with schema 9"):
        serde.decode(struct.pack(">bI", 0, 9) + old.getvalue())
    with pytest.raises(SerdeError, match="does not begin with a schema's id"):
        serde.decode(b"tea")


def test_bad_avro_is_explained_with_its_index() -> None:
    serde = AvroSerde(Order, ORDER)
    good = serde.encode(Order("tea", AT))
    for bad in (b"", b"\xff\xff", (good or b"") + b"more", None):
        with pytest.raises(SerdeError) as caught:
            serde.decode_all([good, bad])
        assert caught.value.index == 1
    with pytest.raises(SerdeError, match="does not fit the Avro schema"):
        serde.encode(Order(5, AT))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="no Avro schema"):
        AvroSerde(Order, {"type": "nothing"})


def test_protobuf_bare_and_in_confluents_frame() -> None:
    sale = Sale(item="tea", cents=300)
    bare, framed = ProtobufSerde(Sale), ProtobufSerde(Sale, schema_id=7)
    assert bare.encode(sale) == sale.SerializeToString()
    assert framed.encode(sale) == b"\x00\x00\x00\x00\x07\x00" + sale.SerializeToString()
    assert bare.decode(bare.encode(sale)) == framed.decode(framed.encode(sale)) == sale
    third_in_second = b"\x00\x00\x00\x00\x07" + bytes([4, 2, 4]) + sale.SerializeToString()
    assert framed.decode(third_in_second) == sale
    for bad in (b"", b"\x01\x00\x00\x00\x07\x00", b"\x00\x00\x00\x00\x07\xff", None):
        with pytest.raises(SerdeError):
            framed.decode(bad)
    with pytest.raises(UsageError, match="no Protobuf message"):
        ProtobufSerde(Order)


@pytest.mark.parametrize("serde_class", [JsonSerde, MsgpackSerde])
def test_models_and_messages_pass_inside_of_others(serde_class: Any) -> None:  # noqa: ANN401
    visit = Visit(Customer(name="ann", Age=3), "corner")
    serde = serde_class(Visit)
    assert serde.decode(serde.encode(visit)) == visit
    pair = serde_class(tuple[Sale, int])
    assert pair.decode(pair.encode((Sale(item="tea"), 1))) == (Sale(item="tea"), 1)


def test_models_are_validated() -> None:
    serde = serde_for(Customer)
    assert serde.encode(Customer(name="ann", Age=3)) == b'{"Age":3,"name":"ann"}'
    with pytest.raises(SerdeError, match="Age"):
        serde.decode(b'{"name": "ann", "Age": -1}')
    assert isinstance(serde_for(Sale), ProtobufSerde)


def test_models_pass_a_pipeline_with_state() -> None:
    class Known(BaseModel):
        latest: Customer

    @pipeline
    def known(customers: Stream[Customer]) -> Output:
        return (
            customers.filter(lambda c: c.age > 1)
            .key_by(lambda c: c.name)
            .window(tumbling(timedelta(seconds=1)))
            .aggregate(Known, latest=last())
            .to("known")
        )

    with drive(known, partitions=2) as t:
        for age in range(5):
            t.send(
                "customers", Customer(name="ann", Age=age).model_dump(by_alias=True), timestamp=age
            )
        t.run()
        t.delete_state()
        t.drain()
        (record,) = t.read("known")
        assert record.value["value"] == {"latest": {"name": "ann", "Age": 4}}


def test_messages_and_avro_pass_a_pipeline() -> None:
    orders_serde = AvroSerde(Order, ORDER)

    @pipeline
    def totals(
        sales: Stream[Sale],
        orders: Annotated[Stream[Order], Topic(serde=orders_serde, event_time=lambda o: o.at)],
    ) -> tuple[Output, Output]:
        by_item = sales.key_by(lambda s: s.item).window(tumbling(timedelta(days=1)))
        summed = by_item.sum_(lambda s: s.cents)
        return summed.to("totals"), orders.map(lambda o: o.cents).to("cents")

    with drive(totals) as t:
        for cents in (1, 2, 3):
            t.send("sales", Sale(item="tea", cents=cents).SerializeToString())
        t.send("orders", orders_serde.encode(Order("tea", AT, 7)))
        t.drain()
        assert [r.value["value"] for r in t.read("totals")] == [6]
        assert [(r.value, r.timestamp) for r in t.read("cents")] == [(7, AT.timestamp() * 1000)]

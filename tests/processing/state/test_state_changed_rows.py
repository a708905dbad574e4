"""Rows that wait for a checkpoint have the order of their names whenever one looks."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from streamlog.processing.state.changed_rows import ChangedRows

NAMES = st.sampled_from([bytes([number]) for number in range(12)])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), NAMES, st.none() | st.binary(max_size=2)),
        st.tuples(st.just("drop"), NAMES, st.none()),
        st.tuples(st.just("look"), NAMES, NAMES),
        st.tuples(st.just("clear"), st.none(), st.none()),
    ),
    max_size=60,
)


@given(STEPS)
def test_they_are_what_a_dictionary_would_be(
    steps: list[tuple[str, bytes | None, bytes | None]],
) -> None:
    rows, reference = ChangedRows(), dict[bytes, bytes | None]()
    for step, name, other in steps:
        if step == "clear":
            rows.clear()
            reference.clear()
        elif name is not None and step == "put":
            rows.put(name, other)
            reference[name] = other
        elif name is not None and step == "drop":
            rows.drop(name)
            reference.pop(name, None)
        elif name is not None and other is not None:
            expected = sorted(each for each in reference if name <= each < other)
            assert list(rows.names(name, other)) == expected
    assert rows.in_order() == sorted(reference.items())
    assert list(rows.names(b"", b"\xff")) == sorted(reference)

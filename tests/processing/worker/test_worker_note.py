"""Notes beside committed offsets: ours are recognised, everything else is somebody else's."""

from __future__ import annotations

import pytest

from streamlog.processing.worker.note import Note, format_note, parse_note, stamped, tells_of


def test_a_note_comes_back() -> None:
    note = Note(12, drained=True)
    assert parse_note(format_note(note)) == note


@pytest.mark.parametrize("metadata", ["", "{}", "tool 1.2", '{"by":"other","sequence":1}', "[1]"])
def test_what_others_write_is_not_a_note(metadata: str) -> None:
    assert parse_note(metadata) is None


def test_a_note_tells_of_its_checkpoint_whenever_that_was_taken() -> None:
    note = Note(7, drained=True)
    metadata = stamped(format_note(note), 1_000, 500, "bills")
    assert parse_note(metadata) == Note(
        7, drained=True, at_ms=1_000, time_ms=500, sub_topology="bills"
    )
    assert tells_of(metadata, note)
    assert not tells_of(metadata, Note(7))
    assert not tells_of("somebody's", note)

"""Lines into records: what `produce` makes of its input, chunk by chunk.

A line ends with a newline, which is not part of the record; the last line may do without. With a
key delimiter, a line is a key, the delimiter's first occurrence, and a value; a line without it is
all value, as in kcat.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from streamlog.errors import DataError

LINE_BYTES_MAX = 64 * 1024 * 1024
"""A longer line fits in no topic; more of it is not gathered."""

KeyAndValue = tuple[bytes | None, bytes | None]


@dataclass(slots=True)
class RecordReader:
    """Gets bytes as they come and returns the records that they complete."""

    key: bytes | None = None
    key_delimiter: bytes | None = None
    empty_is_null: bool = False
    _rest: bytes = field(default=b"", init=False)

    def feed(self, data: bytes) -> list[KeyAndValue]:
        r"""Takes the next bytes.

        >>> RecordReader(key_delimiter=b":").feed(b"a:1\nb:2\nc")
        [(b'a', b'1'), (b'b', b'2')]
        """
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_BYTES_MAX:
            raise DataError(f"the input has a line of more than {LINE_BYTES_MAX >> 20} MiB")
        return [self._record(line) for line in lines]

    def finish(self) -> list[KeyAndValue]:
        """Returns the last line, if it did not end with a newline."""
        rest, self._rest = self._rest, b""
        return [self._record(rest)] if rest else []

    def _record(self, line: bytes) -> KeyAndValue:
        key, value = self.key, line
        if self.key_delimiter is not None:
            front, delimiter, back = line.partition(self.key_delimiter)
            if delimiter:
                key, value = front, back
        return key, (None if self.empty_is_null and not value else value)

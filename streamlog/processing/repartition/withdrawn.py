"""What a rewind took back of what writers had already written to a repartition topic.

A writer that was rewound writes anew from where it was rewound to: perhaps with other functions,
perhaps without the drain that closed its windows. What it had written from there on is still in the
log. So the state of each reader says of its writers: from owners up to this epoch, nothing from
this sequence on counts. The epoch is the rewind's own, under which nothing is ever written, so what
the writer's next owners write counts whole.

The rule costs only readers that have yet to pass such records. As soon as a writer's newer epoch
was seen, older epochs are refused anyway, and the rule is forgotten.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from streamlog.processing.repartition.position import BLOCK, HEADER, MARKER_HEADER, TIME_MARKER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from streamlog.processing.state.meta import Withdrawal
    from streamlog.records.columns import Columns

_WHO: Final = struct.Struct(">iiq")
"""How every position and marker begins: writer, epoch, sequence."""


def without_withdrawn(columns: Columns, withdrawn: Mapping[int, tuple[Withdrawal, ...]]) -> Columns:
    """Returns the records that were not taken back, by writer.

    A record without a position is left in: whoever reads on refuses it.
    """
    headers = columns.headers
    if headers is None:
        return columns
    kept: list[int] = []
    for index, each in enumerate(headers):
        name, data = each[0] if each else ("", None)
        if data is not None and name in (HEADER, MARKER_HEADER) and len(data) >= _WHO.size:
            writer, epoch, sequence = _WHO.unpack_from(data)
            if name == MARKER_HEADER and data[-1] != TIME_MARKER:
                # It comes behind everything that the last input had caused.
                sequence += BLOCK - 1
            rules = withdrawn.get(writer, ())
            if any(epoch <= rule[0] and sequence >= rule[1] for rule in rules):
                continue
        kept.append(index)
    if len(kept) == len(headers):
        return columns
    return columns.pick(kept)

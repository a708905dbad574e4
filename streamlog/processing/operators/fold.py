"""An aggregate of the user's own: a state, and functions that make the next one of it.

What the functions get is theirs to change: nobody else holds the state, and a result that is the
state itself leaves as a copy. Whether the order of records shows is up to the functions; they are
called in the order in which records arrive. The module is written in the typed subset that mypyc
compiles.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from streamlog.processing.operators.accumulators import Accumulator, ValueCodec

if TYPE_CHECKING:
    from collections.abc import Callable


class FoldFunctions:
    """What the user gave.

    Args:
        zero: Makes the state of nothing; `None`: the first value is the first state.
        add: From the state and a value to the next state.
        merge: From two states to one.
        remove: From the state and a value that was added to the state without it.
        result: From the state to what the aggregate is; `None`: the state itself.
    """

    __slots__ = ("add", "merge", "remove", "result", "zero")

    def __init__(
        self,
        zero: Callable[[], Any] | None,
        add: Callable[[Any, Any], Any],
        merge: Callable[[Any, Any], Any] | None,
        remove: Callable[[Any, Any], Any] | None,
        result: Callable[[Any], Any] | None,
    ) -> None:
        self.zero = zero
        self.add = add
        self.merge = merge
        self.remove = remove
        self.result = result


class Fold(Accumulator):
    """The state.

    Args:
        codec: How it is stored.
        functions: What makes the next one of it.
    """

    def __init__(self, codec: ValueCodec, functions: FoldFunctions) -> None:
        self.codec = codec
        self.functions = functions
        self.value: Any = None
        """The state, which never is `None`; that stands for nothing added yet."""

    def add(self, value: object, timestamp: int, writer: int) -> None:
        """Makes the next state."""
        before = self._before()
        if before is None:
            self._become(self.codec.copy(value), "the first value")
        else:
            self._become(self.functions.add(before, value), "add")

    def remove(self, value: object) -> None:
        """Makes the state without a value."""
        assert self.functions.remove is not None
        self._become(self.functions.remove(self._before(), value), "remove")

    def merge(self, other: Accumulator) -> None:
        """Makes one state of two."""
        assert isinstance(other, Fold)
        if other.value is None:
            return
        if self.value is None:
            self.value = other.value
        else:
            assert self.functions.merge is not None
            self._become(self.functions.merge(self.value, other.value), "merge")

    def _before(self) -> object:
        if self.value is None and self.functions.zero is not None:
            self._become(self.functions.zero(), "zero")
        return self.value

    def _become(self, value: object, what: str) -> None:
        if value is None:
            raise TypeError(
                f"the state of an aggregate became None in {what}: return the state, "
                "also where it was changed in place"
            )
        self.codec.check(value)
        self.value = value

    def result(self) -> object:
        """Returns what the state amounts to."""
        value = self.value
        if value is None:
            zero = self.functions.zero
            if zero is None:
                return None
            value = zero()
        if self.functions.result is not None:
            return self.functions.result(value)
        return self.codec.copy(value)

    def state(self) -> object:
        """Returns the state in its stored form."""
        return None if self.value is None else self.codec.dump(self.value)

    def restore(self, state: object) -> None:
        """Takes the state."""
        self.value = None if state is None else self.codec.load(cast("list[object]", state))


def constant(value: object, codec: ValueCodec) -> Callable[[], object]:
    """Returns what makes a state of nothing that was given as a value: a new one each time."""

    def make() -> object:
        return codec.copy(value)

    return make

"""The aggregates that the user writes: what is to be made of the values of a key, or of a window.

None of them but `fold` and `reduce_` depends on the order in which records arrive: the same records
give the same result, to the last bit. Sums and means of floats are exact and rounded once; `first`,
`last` and `collect` go by event time. A selector that yields `None` leaves that record out, as
aggregates in SQL do with nulls; of nothing, `count` and `sum_` are 0, lists are empty and all
others are `None`.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from streamlog.processing.declaration import plan_error
from streamlog.processing.dsl import inference
from streamlog.processing.dsl.checks import check_arguments, check_function
from streamlog.processing.dsl.kept_types import container_of, item_codec, state_codec
from streamlog.processing.operators.accumulators import ValueCodec
from streamlog.processing.operators.collected import Collected
from streamlog.processing.operators.distinct import CountDistinct, Distinct
from streamlog.processing.operators.fold import Fold, FoldFunctions, constant
from streamlog.processing.operators.ranked import Ranking, TopK
from streamlog.processing.operators.sketch import Sketch, bins_per_octave
from streamlog.processing.operators.specs import AggregateSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from streamlog.processing.dsl.nodes import RuntimeType
    from streamlog.processing.operators.specs import Maker

    MakerOf: TypeAlias = Callable[[RuntimeType], Maker]
    """From the type of the result's field, as far as it is known, to what makes accumulators."""

T = TypeVar("T")
S = TypeVar("S")
T_contra = TypeVar("T_contra", contravariant=True)

QUANTILE_ACCURACY = 0.01
_KEEPING_VALUES = frozenset({"first", "last", "min", "max"})


class Aggregate(Generic[T_contra]):
    """An aggregate over values of one type; made by the functions of this module.

    Attributes:
        kind: What it is, with what its stored state depends on.
        selector: What of a value it looks at; the whole value if there is none.
        can_merge: Whether merging windows, such as sessions, can use it.
        can_remove: Whether tables can use it, where values are taken back.
    """

    __slots__ = ("_maker_of", "_removing", "can_merge", "can_remove", "kind", "selector")

    def __init__(
        self,
        kind: str,
        selector: Callable[[T_contra], object] | None,
        maker_of: MakerOf | None = None,
        *,
        can_merge: bool = True,
        can_remove: bool = False,
        removing: tuple[str, MakerOf] | None = None,
    ) -> None:
        if selector is not None and not callable(selector):
            raise plan_error(
                f"{kind} takes a function of a value, this is {selector!r}",
                hint="For example: sum_(lambda order: order.amount)",
            )
        if selector is not None:
            check_arguments(selector, kind, "For example: sum_(lambda order: order.amount)")
        self.kind = kind
        self.selector = selector
        self.can_merge = can_merge
        self.can_remove = can_remove or removing is not None
        self._maker_of = maker_of
        self._removing = removing

    def spec(
        self, field: str, field_type: RuntimeType, *, takes_back: bool = False
    ) -> AggregateSpec:
        """Returns what the engine knows of it.

        Args:
            field: The result's field that it fills; empty when the result is the aggregate itself.
            field_type: The type of that, as far as it is known.
            takes_back: Whether values will be taken back.
        """
        kind, maker_of = self.kind, self._maker_of
        if kind in _KEEPING_VALUES:
            state_codec(field_type)
        if takes_back and self._removing is not None:
            kind, maker_of = self._removing
        return AggregateSpec(
            field=field,
            kind=kind,
            selector=self.selector,
            value_type=field_type,
            make=None if maker_of is None else maker_of(field_type),
            can_merge=self.can_merge,
        )

    def __repr__(self) -> str:
        name = "" if self.selector is None else getattr(self.selector, "__name__", "…")
        return f"{self.kind}({name})"


def count(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """Counts records, or those for which the selector does not yield `None`."""
    return Aggregate("count", selector, can_remove=True)


def sum_(selector: Callable[[T], float | None]) -> Aggregate[T]:
    """Adds numbers up: whole numbers stay whole, floats are added exactly and rounded once."""
    return Aggregate("sum", selector, can_remove=True)


def mean(selector: Callable[[T], float | None]) -> Aggregate[T]:
    """The exact sum, divided by how many there were; a float, or `None` of nothing."""
    return Aggregate("mean", selector, can_remove=True)


def min_(selector: Callable[[T], object]) -> Aggregate[T]:
    """The smallest of values that compare with each other, or `None` of nothing."""
    return Aggregate("min", selector, removing=("all-min", partial(_ranking, smallest=True)))


def max_(selector: Callable[[T], object]) -> Aggregate[T]:
    """The largest of values that compare with each other, or `None` of nothing."""
    return Aggregate("max", selector, removing=("all-max", partial(_ranking, smallest=False)))


def first(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """What the earliest record yields, by event time."""
    return Aggregate("first", selector)


def last(selector: Callable[[T], object] | None = None) -> Aggregate[T]:
    """What the latest record yields, by event time."""
    return Aggregate("last", selector)


def collect(
    selector: Callable[[T], object] | None = None, *, limit: int, latest: bool = False
) -> Aggregate[T]:
    """A list of what the selector yields, in the order of event time.

    Args:
        selector: What of a value goes into the list; the whole value if there is none.
        limit: How long the list becomes at most; it is part of the state, so keep it small.
        latest: Whether the latest are kept when there are more, and not the earliest.
    """
    _check_limit(limit, "collect(limit=100)")

    def maker_of(field_type: RuntimeType) -> Maker:
        return partial(Collected, item_codec(field_type, selector), limit, latest)

    return Aggregate(f"collect({'latest ' if latest else ''}{limit})", selector, maker_of)


def distinct(selector: Callable[[T], object]) -> Aggregate[T]:
    """The different values that the selector yields.

    A sorted list, or a set where the result's field is annotated as one. Values of different types
    are different: 1 and 1.0 are two. All of them are part of the state.
    """

    def maker_of(field_type: RuntimeType) -> Maker:
        codec = item_codec(field_type, selector)
        return partial(Distinct, codec, container_of(field_type))

    return Aggregate("distinct", selector, maker_of, can_remove=True)


def count_distinct(selector: Callable[[T], object]) -> Aggregate[T]:
    """How many different values the selector yields, exactly; all of them are part of the state."""

    def maker_of(_: RuntimeType) -> Maker:
        # They are told apart by their bytes, and never read back: so their type does not matter.
        return partial(CountDistinct, ValueCodec(object), list)

    return Aggregate("count_distinct", selector, maker_of, can_remove=True)


def quantile(
    selector: Callable[[T], float | None], q: float, *, accuracy: float = QUANTILE_ACCURACY
) -> Aggregate[T]:
    """The number below which a part `q` of all numbers lies: 0.5 is the median.

    It is within `accuracy` of the true one, relative to it; see `quantiles`.
    """
    return _sketch(selector, (q,), accuracy, single=True)


def quantiles(
    selector: Callable[[T], float | None], *qs: float, accuracy: float = QUANTILE_ACCURACY
) -> Aggregate[T]:
    """A list with the number for each of several quantiles, or `None` of nothing.

    The quantile `q` of `n` numbers is the one with `int(q * (n - 1))` others below it. What comes
    out is within `accuracy` of it, relative to it: 99 to 101 for 100 at the default of 1%. Counts
    of numbers in bins are kept, some hundreds of them, whatever the number of records.

    Args:
        selector: Yields numbers.
        qs: From 0 (the smallest) to 1 (the largest).
        accuracy: Half of it needs twice as many bins.
    """
    return _sketch(selector, qs, accuracy, single=False)


def top_k(
    k: int,
    selector: Callable[[T], object] | None = None,
    *,
    by: Callable[[T], object] | None = None,
) -> Aggregate[T]:
    """A list of the `k` largest, largest first: `top_k(3, lambda f: f.delay)`.

    Of equal ones the earliest by event time come first.

    Args:
        k: How many.
        selector: What of a value goes into the list; the whole value if there is none.
        by: What of a value decides, if it is not what goes into the list:
            `top_k(3, by=lambda f: f.delay)` is a list of flights.
    """
    _check_limit(k, "top_k(3, lambda flight: flight.delay)")
    for function in (selector, by):
        if function is not None:
            check_function(function, "top_k", "3, by=lambda value: value.delay")

    def pair(value: T) -> tuple[object, object]:
        item = value if selector is None else selector(value)
        return (item if by is None else by(value)), item

    def codecs(field_type: RuntimeType) -> tuple[ValueCodec, ValueCodec]:
        item = item_codec(field_type, selector)
        return (item if by is None else state_codec(inference.result_type(by))), item

    def maker_of(field_type: RuntimeType) -> Maker:
        return partial(TopK, *codecs(field_type), k)

    def removing(field_type: RuntimeType) -> Maker:
        return partial(Ranking, *codecs(field_type), k, False, True)

    return Aggregate(f"top_k({k})", pair, maker_of, removing=("all-top_k", removing))


@overload
def fold(
    zero: Callable[[], S],
    add: Callable[[S, T], S],
    *,
    merge: Callable[[S, S], S] | None = None,
    remove: Callable[[S, T], S] | None = None,
    result: Callable[[S], object] | None = None,
    state: type[S] | None = None,
) -> Aggregate[T]: ...


@overload
def fold(
    zero: S,
    add: Callable[[S, T], S],
    *,
    merge: Callable[[S, S], S] | None = None,
    remove: Callable[[S, T], S] | None = None,
    result: Callable[[S], object] | None = None,
    state: type[S] | None = None,
) -> Aggregate[T]: ...


def fold(
    zero: object,
    add: Callable[[Any, T], Any],
    *,
    merge: Callable[[Any, Any], Any] | None = None,
    remove: Callable[[Any, T], Any] | None = None,
    result: Callable[[Any], object] | None = None,
    state: type[Any] | None = None,
) -> Aggregate[T]:
    """An aggregate of your own: a state, and how a value changes it.

    `fold(1, lambda product, f: product * f.factor)` multiplies. Values arrive in no particular
    order; if that shows in the result, put `.in_order()` in front.

    Args:
        zero: The state of nothing, or what makes it: `0`, `list`, `Statistics`.
        add: From the state and a value to the next state; it may change the state in place, and
            has to return it all the same.
        merge: From two states to one; windows that merge, such as sessions, need it.
        remove: From the state and a value that was added to the state without it; tables need it.
        result: From the state to what the aggregate is; the state itself if there is none.
        state: The type of the state, if neither `zero` nor an annotation of `add` tells it:
            `state=list[str]`.
    """
    check_function(add, "fold", "0, lambda state, value: …", arguments=2)
    codec = _fold_codec(zero, add, state)
    make_zero = zero if callable(zero) else constant(zero, codec)
    functions = FoldFunctions(make_zero, add, merge, remove, result)
    return Aggregate(
        f"fold({inference.derived_name(add)})",
        None,
        lambda _: partial(Fold, codec, functions),
        can_merge=merge is not None,
        can_remove=remove is not None,
    )


def reduce_(
    function: Callable[[T, T], T], *, remove: Callable[[T, T], T] | None = None
) -> Aggregate[T]:
    """One value of two, again and again: `reduce_(lambda a, b: a if a.size > b.size else b)`.

    The first value is what it begins with. The result is of the values' type. If the order of
    values shows in it, put `.in_order()` in front.

    Args:
        function: From the reduced value and another to the next reduced value.
        remove: From the reduced value and one that went into it to that without it; tables need it.
    """
    check_function(function, "reduce_", "lambda one, other: …", arguments=2)
    functions = FoldFunctions(None, function, function, remove, None)
    return Aggregate(
        "reduce",
        None,
        lambda field_type: partial(Fold, state_codec(field_type), functions),
        can_remove=remove is not None,
    )


def _fold_codec(zero: object, add: Callable[..., object], state: RuntimeType) -> ValueCodec:
    found = state
    if found is None:
        found = inference.result_type(add)
    if found is None:
        found = zero if isinstance(zero, type) else None if callable(zero) else type(zero)
    if found in (None, list, dict, set, frozenset) or found is object:
        raise plan_error(
            "the type of the state of this fold is not known when the program runs, so the state "
            "could not be read back",
            hint="Write state=…, for example: fold(list, add, state=list[str])",
        )
    if found in (int, float, str, bytes, bool, tuple) and state is None:
        # Numbers change their type when they are added up; plain values need none.
        return ValueCodec(None)
    return state_codec(found)


def _sketch(
    selector: Callable[[T], float | None], qs: tuple[float, ...], accuracy: float, *, single: bool
) -> Aggregate[T]:
    example = "quantiles(lambda flight: flight.delay, 0.5, 0.99)"
    if not qs or not all(isinstance(q, int | float) and 0 <= q <= 1 for q in qs):
        raise plan_error(
            f"quantiles are numbers from 0 to 1, these are {qs}", hint=f"Write: {example}"
        )
    if not 1e-6 <= accuracy <= 0.3:
        raise plan_error(f"accuracy={accuracy} is not between 0.000001 and 0.3")
    check_function(selector, "quantiles", "lambda value: value.delay, 0.5")
    bins = bins_per_octave(accuracy)
    return Aggregate(
        f"quantiles(±{accuracy:.3g})",
        selector,
        lambda _: partial(Sketch, bins, [float(q) for q in qs], single),
        can_remove=True,
    )


def _ranking(field_type: RuntimeType, *, smallest: bool) -> Maker:
    codec = state_codec(field_type)
    return partial(Ranking, codec, codec, 0, smallest, False)


def _check_limit(limit: object, example: str) -> None:
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise plan_error(f"{limit!r} is no number of values to keep", hint=f"Write: {example}")

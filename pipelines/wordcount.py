"""Counts the words of the topic `lines` in spans of ten seconds, and prints the counts."""

from datetime import timedelta

from msgspec import Struct

from streamlog import Output, Stream, count, last, pipeline, tumbling


class Count(Struct):
    """How often a word came."""

    word: str
    times: int


@pipeline
def wordcount(lines: Stream[str]) -> Output:
    """Counts each word in every ten seconds."""
    words = lines.flat_map(str.split, to=str).key_by(str.lower, name="by-word")
    spans = words.window(tumbling(timedelta(seconds=10)))
    counts = spans.aggregate(Count, word=last(), times=count())
    return counts.peek(lambda result: print(result.start, result.value)).to("words")

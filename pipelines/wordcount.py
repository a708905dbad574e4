"""Counts the words of the topic `lines` in spans of ten seconds, and prints the counts."""

from datetime import timedelta

from streamlog import Output, Stream, pipeline, tumbling


@pipeline
def wordcount(lines: Stream[str]) -> Output:
    """How often each word came, every ten seconds."""
    return (
        lines.flat_map(str.split, to=str)
        .key_by(str.lower, name="by-word")
        .window(tumbling(timedelta(seconds=10)))
        .count()
        .peek(print)
        .to("words")
    )

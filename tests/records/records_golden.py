"""Batches as Java's client and librdkafka wrote them into an Apache Kafka 4.3 log, in base64.

Each holds the same three records: two with text, and a third with the key "gamma" and no value;
those of librdkafka (`kcat -H h=1`) bear one header each. The offsets begin at 0.
"""

from __future__ import annotations

from base64 import b64decode

JAVA = {
    "gzip": (
        "AAAAAAAAAAAAAABzAAAAAAL5WqKDAAEAAAACAAABofz/2vwAAAGh/P/bDgAAAAAAAAAAAAAAAAAAAAAAAx+LCAAA"
        "AAAAAP8LYWBg4ErMKchItMvPS1XAgxmCGFSYOJJSSxLtSsrzFfBgBjEGFRau9MTc3ERGBgAOt1a6YQAAAA=="
    ),
    "snappy": (
        "AAAAAAAAAAAAAAB8AAAAAAIJI09wAAIAAAACAAABofz/49sAAAGh/P/kHQAAAAAAAAABAAAAAAAAAAAAA4JTTkFQ"
        "UFkAAAAAAQAAAAEAAAA3YzhUAAAACmFscGhhPm9uZSBqBAA8AFQAhAECCGJldGE+dHdvIGoEADQAGACEAQQKZ2Ft"
        "bWEBAA=="
    ),
    "lz4": (
        "AAAAAAAAAAAAAAB2AAAAAAJQ0u0vAAMAAAACAAABofz/7IMAAAGh/P/sqAAAAAAAAAACAAAAAAAAAAAAAwQiTRhg"
        "QII2AAAA/wBUAAAACmFscGhhPm9uZSAEAAj/AABSAEgCCGJldGE+dHdvIAQACNAAFgBKBApnYW1tYQEAAAAAAA=="
    ),
    "zstd": (
        "AAAAAAAAAAAAAABxAAAAAAJJ1Dl0AAQAAAACAAABofz/9GsAAAGh/P/0hwAAAAAAAAADAAAAAAAAAAAAAyi1L/0A"
        "WKQBALQCVAAAAAphbHBoYT5vbmUgAFIAOAIIYmV0YT50d28gABYAOAQKZ2FtbWEBAAIAIKwPXR0BAAA="
    ),
}
LIBRDKAFKA = {
    "gzip": (
        "AAAAAAAAAAAAAAB5AAAAAALPJg1VAAEAAAACAAABofz/27AAAAGh/P/bsP//////////////////AAAAAx+LCAAA"
        "AAAAAAOLYWBg4ErMKchItMvPS1XAg5mYMpgMoxgYmDiSUksS7UrK8xXwYLBqOQYGFq70xNzcREYwHwDmpz9CbQAA"
        "AA=="
    ),
    "snappy": (
        "AAAAAAAAAAAAAABvAAAAAALn3L8rAAIAAAACAAABofz/5HgAAAGh/P/keP//////////////////AAAAA204XAAA"
        "AAphbHBoYT5vbmUgagQASAICaAIxWgAAAghiZXRhPnR3byBqBAAFLjweAAAECmdhbW1hAQICaAIx"
    ),
    "lz4": (
        "AAAAAAAAAAAAAACBAAAAAAI7er6mAAMAAAACAAABofz/7P0AAAGh/P/s/f//////////////////AAAAAwQiTRhg"
        "QIJBAAAA/wBcAAAACmFscGhhPm9uZSAEAAj/BAICaAIxWgAAAghiZXRhPnR3byAEAAgBLgDwAR4AAAQKZ2FtbWEB"
        "AgJoAjEAAAAA"
    ),
    "zstd": (
        "AAAAAAAAAAAAAAB4AAAAAAL0Mg9wAAQAAAACAAABofz/9MMAAAGh/P/0w///////////////////AAAAAyi1L/0A"
        "WPUBACQDXAAAAAphbHBoYT5vbmUgAgJoAjFaAAACCGJldGE+dHdvIB4AAAQKZ2FtbWEBAgJoAjEDAFEJIAjDQ1cH"
    ),
}
KEYS = [b"alpha", b"beta", b"gamma"]
VALUES = [b" ".join([b"one"] * 8), b" ".join([b"two"] * 8), None]
HEADERS = {"java": None, "librdkafka": [(("h", b"1"),)] * 3}
BATCHES = {
    **{("java", name): b64decode(text) for name, text in JAVA.items()},
    **{("librdkafka", name): b64decode(text) for name, text in LIBRDKAFKA.items()},
}

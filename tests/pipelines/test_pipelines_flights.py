"""The demo's pipelines against plain Python over the same files."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import flights_recomputed as recomputed
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from command_runner import read_results, server, streamlog

EXPECTED = {
    "delays-per-carrier": recomputed.delays_per_carrier,
    "cancellations-per-origin": recomputed.cancellations_per_origin,
}


@pytest.mark.slow
def test_the_demo_finds_what_plain_python_finds(tmp_path: Path) -> None:
    arguments = ["--exit", "--data", str(tmp_path), "--listen", "127.0.0.1:0"]
    first = streamlog("demo", *arguments)
    assert "UA\tUnited Air Lines Inc." in first.stdout
    done = re.findall(r": stopped, .* records in, 0 late, ", first.stderr)
    assert len(done) == len(EXPECTED), first.stderr
    with server(tmp_path) as address:
        for topic, recompute in EXPECTED.items():
            results, count = read_results(address, topic)
            expected = recompute()
            assert results.keys() == expected.keys()
            assert results == expected
            assert count == len(expected)
    second = streamlog("demo", *arguments)
    assert "were there already" in second.stderr
    assert "loaded" not in second.stderr
    assert second.stdout == first.stdout

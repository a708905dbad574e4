"""The benchmarks: `make bench`, or `python tests/benchmarks [NAME…] [--messages N] [--json FILE]`.

Every figure is a ratio against a stated peer that is measured in the same run, in turn with us
(ours, theirs, ours, theirs …), because machines differ and drift. Nothing here is a test.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "interop"))

import clicks
import idle
import pipeline
import state
import throughput
import workers
from report import Row, table

BENCHMARKS = {
    "throughput": throughput.run,
    "clicks": clicks.run,
    "state": state.run,
    "workers": workers.run,
    "pipeline": pipeline.run,
    "idle": idle.run,
}


def main() -> None:
    """Runs the named benchmarks, or all, and prints one table."""
    parser = argparse.ArgumentParser(prog="python tests/benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--messages", type=int, help="of each run; each has a default")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    arguments = parser.parse_args()
    rows: list[Row] = []
    for name in arguments.names or BENCHMARKS:
        print(f"{name} …", file=sys.stderr, flush=True)
        rows += BENCHMARKS[name](arguments.messages, arguments.rounds)
    print(f"Python {platform.python_version()}, {platform.machine()}, {platform.system()}")
    print(table(rows))
    if arguments.json:
        arguments.json.write_text(json.dumps([row._asdict() for row in rows], indent=2))


if __name__ == "__main__":
    main()

"""`streamlog replay` against a real Apache Kafka; skipped without a JDK and Maven."""

from __future__ import annotations

import sys
from pathlib import Path

import apache_kafka
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent / "cli"))

from replay_scenario import edit_replay_compare_swap_and_run_on

MISSING = apache_kafka.unavailable()
pytestmark = [
    pytest.mark.interop,
    pytest.mark.slow,
    pytest.mark.skipif(MISSING is not None, reason=str(MISSING)),
]


def test_an_edit_goes_the_whole_way_on_apache_kafka(kafka: str, tmp_path: Path) -> None:
    edit_replay_compare_swap_and_run_on(kafka, tmp_path)

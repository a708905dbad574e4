"""Test pipelines in plain pytest: `drive` runs one without broker or event loop."""

from streamlog.testing.driver import Driver, Record, drive
from streamlog.testing.memory_letters import DeadLetter

__all__ = ["DeadLetter", "Driver", "Record", "drive"]

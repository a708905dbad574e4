"""Test pipelines in plain pytest: `drive` runs one without broker or event loop."""

from streamlog.testing.driver import Driver, Record, drive

__all__ = ["Driver", "Record", "drive"]

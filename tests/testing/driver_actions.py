"""What may be done with a driver between two records, by name, for strategies to draw."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import strategies as st

if TYPE_CHECKING:
    from streamlog.testing import Driver

actions = st.sampled_from(
    ["run", "checkpoint", "crash", "outputs", "changelog", "state", "commit", "delete"]
)


def act(t: Driver, action: str) -> None:
    match action:
        case "run":
            t.run()
        case "checkpoint":
            t.checkpoint()
        case "crash":
            t.crash()
        case "delete":
            t.delete_state()
        case "outputs" | "changelog" | "state" | "commit":
            t.crash(at=action)

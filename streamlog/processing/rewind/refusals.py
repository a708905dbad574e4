"""Why a pipeline is not rewound: somebody works with it, or what has to be read is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamlog.client.admin.admin import Admin
from streamlog.errors import RefusedError
from streamlog.processing.errors import HistoryError
from streamlog.processing.rewind.locks import running_here
from streamlog.processing.worker.word import decode_word

if TYPE_CHECKING:
    from pathlib import Path

    from streamlog.client.admin.values import MemberDescription
    from streamlog.client.client import Client
    from streamlog.processing.rewind.decide import Decision


async def refuse_if_running(client: Client, group: str, folder: Path) -> None:
    """Refuses to go on if somebody works with the pipeline, and says who.

    Raises:
        RefusedError: If so.
    """
    workers = await who_runs(client, group, folder)
    if workers:
        raise runs(group, workers)


async def who_runs(client: Client, group: str, folder: Path) -> list[str]:
    """Returns who works with a pipeline: its group's members, or who is about to join it here."""
    members = (await Admin(client).describe_groups([group]))[group].members
    return sorted(map(_seen, members)) or workers_here(folder)


def workers_here(folder: Path) -> list[str]:
    """Returns the workers of this machine that use a state folder."""
    return [f"process {pid} on this machine" for pid in running_here(folder)]


def _seen(member: MemberDescription) -> str:
    word = decode_word(None if member.subscription is None else member.subscription.user_data)
    host = member.client_host.lstrip("/")
    if not word.pid:
        return f"{member.client_id} at {host}"
    return f"process {word.pid} on {word.host or host}"


def runs(group: str, workers: list[str]) -> RefusedError:
    """The error of a rewind of a pipeline that runs."""
    return RefusedError(
        f'pipeline "{group}" is running: {", ".join(workers)}',
        hint="Stop it first. A worker that was killed counts for some seconds more",
    )


def impossible(decision: Decision) -> HistoryError:
    """The error of a rewind that goes further back than what is kept."""
    if decision.out_of_reach:
        return HistoryError(
            f"the history of {', '.join(map(str, decision.out_of_reach))} does not reach back so "
            "far",
            hint="Go less far back, rewind on the machine that has run these tasks, or have them "
            "begin with their newest snapshot before that, or the start of their log: --rebuild",
        )
    gone = "; ".join(
        f"{choice.name} would go on at offset {each.read_from} of {each.topic}, which begins at "
        f"{each.log_start}"
        for choice in decision.gone
        for each in choice.missing
    )
    return HistoryError(
        f"records that have to be read again were deleted: {gone}",
        hint="Go less far back. Or begin anew with what the log still holds: --to start",
    )

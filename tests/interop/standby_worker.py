"""A pipeline with warm copies, and a worker of it in a process of its own.

Run: standby_worker.py BROKER FOLDER, until it is killed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import trio
from msgspec import Struct

from streamlog import Output, Stream, count, pipeline, sum_
from streamlog.processing.worker.config import RunConfig
from streamlog.processing.worker.run import run_worker
from streamlog.processing.worker.status import RunStatus

NAME = "accounts"


class Payment(Struct):
    account: int
    cents: int


class Account(Struct):
    payments: int
    cents: int


@pipeline(standbys=1)
def accounts(payments: Stream[Payment]) -> Output:
    return (
        payments.key_by(lambda payment: payment.account, name="by-account")
        .aggregate(Account, payments=count(), cents=sum_(lambda payment: payment.cents))
        .to("balances")
    )


def config(address: str, folder: Path) -> RunConfig:
    # No broker of Apache Kafka's lets anybody be away for less, as long as it is not told to.
    return RunConfig(
        brokers=(address,), state_dir=folder, checkpoint_interval_s=0.2, session_timeout_ms=6_000
    )


if __name__ == "__main__":
    trio.run(
        run_worker, (accounts,), config(sys.argv[1], Path(sys.argv[2])), RunStatus(), trio.Event()
    )

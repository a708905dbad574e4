"""How a command ends when something went wrong: one line on stderr, and an exit code.

    1 what the user's own code did     3 nobody answers     5 refused, not authorised
    2 a wrong option or argument       4 does not exist     6 bad data, a failing disk

An error that nobody foresaw is ours: it is shown whole, with the request to report it. Errors from
trio's nurseries come in groups; the first that is ours speaks for its group.
"""

from __future__ import annotations

import os
import sys
import traceback

import click

from streamlog.errors import StreamlogError

EXIT_USAGE = 2
EXIT_INTERNAL = 70
"""EX_SOFTWARE of sysexits.h: an error in streamlog itself."""
EXIT_INTERRUPTED = 130
"""What a shell reports for a process that SIGINT ended."""
EXIT_DISK = 6

EXIT_OF_ERROR_CODE = {
    "UNKNOWN_TOPIC_OR_PARTITION": 4,
    "UNKNOWN_TOPIC_ID": 4,
    "GROUP_ID_NOT_FOUND": 4,
    "COORDINATOR_NOT_AVAILABLE": 3,
    "LEADER_NOT_AVAILABLE": 3,
    "BROKER_NOT_AVAILABLE": 3,
    "REQUEST_TIMED_OUT": 3,
    "NETWORK_EXCEPTION": 3,
    "INVALID_TOPIC_EXCEPTION": 2,
    "INVALID_PARTITIONS": 2,
    "INVALID_REPLICATION_FACTOR": 2,
    "INVALID_CONFIG": 2,
    "INVALID_REQUEST": 2,
    "OFFSET_OUT_OF_RANGE": 4,
    "TOPIC_ALREADY_EXISTS": 5,
    "NON_EMPTY_GROUP": 5,
    "POLICY_VIOLATION": 5,
    "UNSUPPORTED_VERSION": 5,
    "CORRUPT_MESSAGE": 6,
    "KAFKA_STORAGE_ERROR": 6,
}
"""Kafka's error codes whose family is clearer than "the peer said no"."""


def report(error: BaseException) -> int:
    """Says on stderr what went wrong; returns the exit code."""
    error = first_of_group(error)
    if isinstance(error, KeyboardInterrupt | click.Abort):
        return EXIT_INTERRUPTED
    if isinstance(error, BrokenPipeError):
        # `... | head` has read what it wanted. Python would complain again when it flushes.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if isinstance(error, StreamlogError):
        click.echo(f"streamlog: {sentence(str(error))}", err=True)
        return exit_code_of(error)
    if isinstance(error, click.ClickException):
        click.echo(f"streamlog: {sentence(error.format_message())}{_usage_of(error)}", err=True)
        return EXIT_USAGE
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        click.echo(f"streamlog: {where}{error.strerror.lower()}", err=True)
        return EXIT_DISK
    traceback.print_exception(error)
    click.echo("streamlog: this is an error in streamlog itself. Please report it.", err=True)
    return EXIT_INTERNAL


def exit_code_of(error: StreamlogError) -> int:
    """Returns the exit code of an error; Kafka's error codes tell more than their class."""
    code = getattr(getattr(error, "code", None), "name", None)
    return EXIT_OF_ERROR_CODE.get(code, error.exit_code) if code else error.exit_code


def first_of_group(error: BaseException) -> BaseException:
    """Returns the error that speaks for a group: the first of ours, else the first at all."""
    if not isinstance(error, BaseExceptionGroup):
        return error
    ours = error.subgroup(StreamlogError)
    members = (ours or error).exceptions
    return first_of_group(members[0])


def sentence(text: str) -> str:
    """Makes the text begin as a message after a colon does and not end in two full stops."""
    text = text.strip()
    if text[:1].isupper() and not text[:2].isupper():
        text = text[0].lower() + text[1:]
    return text


def _usage_of(error: click.ClickException) -> str:
    context = getattr(error, "ctx", None)
    if context is None or "--help" in error.format_message():
        return ""
    stop = "" if error.format_message().rstrip().endswith((".", "?")) else "."
    return f"{stop} See: {context.command_path} --help"

"""DescribeLogDirs: how much room the partitions take on disk.

Versions: 2 flexible; 3 a top-level error; 4 total and usable bytes of the disk.
"""

from streamlog.wire.schema import (
    Bool,
    Int16,
    Int32,
    Int64,
    Request,
    Response,
    String,
    field,
    message,
    struct,
)


@struct
class DescribeLogDirsPartition:
    """An element of `DescribeLogDirsTopic.partitions`."""

    partition_index: Int32 = 0
    partition_size: Int64 = 0
    offset_lag: Int64 = 0
    is_future_key: Bool = False


@struct
class DescribeLogDirsTopic:
    """An element of `DescribeLogDirsResult.topics`."""

    name: String = ""
    partitions: list[DescribeLogDirsPartition] = field(default_factory=list)


@struct
class DescribeLogDirsResult:
    """An element of `DescribeLogDirsResponse.results`."""

    error_code: Int16 = 0
    log_dir: String = ""
    topics: list[DescribeLogDirsTopic] = field(default_factory=list)
    total_bytes: Int64 = field("4+", default=-1)
    usable_bytes: Int64 = field("4+", default=-1)


@message(versions="1-4", flexible="2+")
class DescribeLogDirsResponse(Response):
    """Directories, and the replicas in them."""

    throttle_time_ms: Int32 = 0
    error_code: Int16 = field("3+", default=0)
    results: list[DescribeLogDirsResult] = field(default_factory=list)


@struct
class DescribableLogDirTopic:
    """An element of `DescribeLogDirsRequest.topics`."""

    topic: String = ""
    partitions: list[Int32] = field(default_factory=list)


@message(versions="1-4", flexible="2+")
class DescribeLogDirsRequest(Request[DescribeLogDirsResponse]):
    """Asks for sizes."""

    topics: list[DescribableLogDirTopic] | None = field(default_factory=list)

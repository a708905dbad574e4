"""streamlog: stream processing on the log, in Python."""

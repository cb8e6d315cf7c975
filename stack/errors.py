"""The one exception that starting servers raises."""


class StackError(Exception):
    """A server can't be started, reached or stopped; the one-line message says what to do."""

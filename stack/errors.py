"""The one exception that starting servers raises."""

from tocsin.errors import TocsinError


class StackError(TocsinError):
    """A server can't be started, reached or stopped; the one-line message says what to do."""

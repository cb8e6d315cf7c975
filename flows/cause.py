"""What a dataflow failed of: Bytewax wraps what a step raises; a person wants the cause."""

from tocsin.errors import TocsinError


def cause_of(error: BaseException) -> TocsinError | None:
    """Return the error for people that lies behind another one, if one does."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, TocsinError):
        seen = seen.__cause__ or seen.__context__
    return seen

"""Names the request in the log lines that are written while it is answered, whoever writes them."""

from sanic import Request
from sanic.exceptions import ServerError
from structlog.typing import EventDict, WrappedLogger

from api.problems import request_id


def name_request(_logger: WrappedLogger, _method: str, line: EventDict) -> EventDict:
    """Add the request's id to a line, where there is a request."""
    if "request_id" not in line:
        try:
            request = Request.get_current()
        except ServerError:
            return line
        line["request_id"] = request_id(request)
    return line

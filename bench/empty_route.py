"""A Sanic that does nothing: what the API's rates are held against. `python -m bench.empty_route`.

It runs as the API does: one process, without an access log, on a port that it is given.
"""

import sys

from sanic import HTTPResponse, Request, Sanic
from sanic.response import empty


def main() -> None:
    """Answer 202 to every POST until it is told to end."""
    app = Sanic("empty", configure_logging=False)
    app.config.ACCESS_LOG = False

    @app.post("/ingest")
    async def take(_request: Request) -> HTTPResponse:
        return empty(status=202)

    app.run(host="127.0.0.1", port=int(sys.argv[1]), single_process=True, motd=False)


if __name__ == "__main__":
    main()

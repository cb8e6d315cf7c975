"""An application with one endless answer, on the API's connections: `python streaming.py PORT`.

It prints how many pieces were sent when the client has gone, and ends.
"""

import sys
from typing import Any

from sanic import Request, Sanic

from api.connections import ApiRequest, BoundedProtocol

PIECE = b"x" * 10_000
PIECES = 20_000


def main() -> None:
    """Serve until one answer has ended."""
    app: Sanic[Any, Any] = Sanic("streaming", request_class=ApiRequest, configure_logging=False)
    app.config.ACCESS_LOG = False

    async def stream(request: Request) -> None:
        sent = 0
        try:
            answer = await request.respond(content_type="text/plain")
            for _ in range(PIECES):
                await answer.send(PIECE)
                sent += 1
        finally:
            print(sent, flush=True)
            app.stop()

    app.add_route(stream, "/")
    port = int(sys.argv[1])
    app.run(host="127.0.0.1", port=port, single_process=True, motd=False, protocol=BoundedProtocol)


if __name__ == "__main__":
    main()

"""Answers that are stored as gzip has packed them."""

import zlib

from sanic import HTTPResponse, Request

_CHUNK_BYTES = 256 * 1024
_NEVER = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})


async def answer_packed(
    request: Request, packed: bytes, content_type: str, headers: dict[str, str]
) -> HTTPResponse | None:
    """Answer it as it is to who takes gzip, else unpacked piece by piece: it may be large."""
    headers = {**headers, "Vary": "Accept-Encoding"}
    if takes_gzip(request.headers.get("accept-encoding", "")):
        headers["Content-Encoding"] = "gzip"
        return HTTPResponse(packed, headers=headers, content_type=content_type)
    if request.method == "HEAD":
        return HTTPResponse(headers=headers, content_type=content_type)
    response = await request.respond(headers=headers, content_type=content_type)
    unpacking = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    rest = packed
    while rest:
        await response.send(unpacking.decompress(rest, _CHUNK_BYTES))
        rest = unpacking.unconsumed_tail
    await response.send(unpacking.flush(), end_stream=True)
    return None


def takes_gzip(accepted: str) -> bool:
    """Tell whether an `Accept-Encoding` lets an answer be packed by gzip."""
    ways = [[part.strip() for part in way.split(";")] for way in accepted.lower().split(",")]
    named = {name: parameters for name, *parameters in ways}
    parameters = named.get("gzip", named.get("*"))
    return parameters is not None and not _NEVER.intersection(parameters)

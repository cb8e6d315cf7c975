"""The ingest key that a request carries, in whichever way its client can send one."""

import base64
import binascii

from sanic import Request


def sent_key(request: Request) -> str | None:
    """Return the key of a request, if it carries anything that may be one.

    `X-API-Key: K`, `Authorization: Bearer K`, `ApiKey K`, `ApiKey` with base64 of `id:K`, or
    `Basic` with K for the password, or for the name.
    """
    plain: str = request.headers.get("x-api-key", "")
    if plain:
        return plain
    given: str = request.headers.get("authorization", "")
    scheme, _, rest = given.partition(" ")
    scheme, rest = scheme.lower(), rest.strip()
    if scheme == "bearer":
        return rest or None
    if scheme == "apikey":
        return _of_pair(rest) or rest or None
    return _of_pair(rest) if scheme == "basic" else None


def _of_pair(text: str) -> str | None:
    try:
        name, _, secret = base64.b64decode(text, validate=True).decode().partition(":")
    except (binascii.Error, ValueError):
        return None
    return secret or name or None

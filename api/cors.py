"""Which pages of other origins may call the API from a browser (CORS); none unless set."""

import re

from sanic import HTTPResponse, Request
from sanic.compat import Header

from tocsin.errors import SettingsError
from tocsin.settings import Settings

_ANY = "*"
_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
_HEADERS = (
    "Authorization, Content-Encoding, Content-Type, Idempotency-Key, If-Match, X-API-Key, "
    "X-Request-ID"
)
_EXPOSED = "ETag, Location, Retry-After, X-Request-ID"
_MAX_AGE_S = "600"


class Cors:
    """Tells browsers which origins are let in. Raises SettingsError for what is no origin."""

    def __init__(self, settings: Settings) -> None:
        named = [origin.strip() for origin in settings.cors_origins.split(",")]
        self._origins = frozenset(origin for origin in named if origin)
        self._with_credentials = settings.cors_credentials == "yes"
        for origin in self._origins - {_ANY}:
            if not _ORIGIN.fullmatch(origin):
                raise SettingsError(
                    f"TOCSIN_CORS_ORIGINS: {origin!r} is no origin: give https://name[:port], "
                    "in small letters, without a path"
                )
        if _ANY in self._origins and self._with_credentials:
            raise SettingsError(
                "TOCSIN_CORS_ORIGINS: * would let any page act as whoever visits it: "
                "name the origins, or set TOCSIN_CORS_CREDENTIALS=no"
            )

    @property
    def is_on(self) -> bool:
        """Whether any origin is let in."""
        return bool(self._origins)

    def describe(self, request: Request, headers: Header) -> None:
        """Say in an answer whether the page that asked may read it."""
        if _ANY in self._origins:
            headers["access-control-allow-origin"] = _ANY
        else:
            headers["vary"] = "Origin"  # a cache must not give one origin another's answer
            origin = request.headers.get("origin")
            if origin not in self._origins:
                return
            headers["access-control-allow-origin"] = origin
            if self._with_credentials:
                headers["access-control-allow-credentials"] = "true"
        headers["access-control-expose-headers"] = _EXPOSED

    async def preflight(self, request: Request, **_path: str) -> HTTPResponse:
        """Answer a browser that asks before it sends; `describe` says whether it may."""
        assert request.route is not None  # noqa: S101 (it is a route that leads here)
        answer = HTTPResponse(status=204)
        answer.headers["access-control-allow-methods"] = request.route.ctx.methods
        answer.headers["access-control-allow-headers"] = _HEADERS
        answer.headers["access-control-max-age"] = _MAX_AGE_S
        return answer

"""Who asks: roles, and the access tokens that say who somebody is."""

import time
from datetime import datetime, timedelta, timezone
from enum import Enum
from uuid import UUID, uuid4

import jwt
from msgspec import Struct
from sanic import Request

from api.problems import Refusal
from tocsin.settings import Settings, require_jwt_secrets

ALGORITHM = "HS256"
ISSUER = "tocsin"
AUDIENCE = "tocsin-api"
_KNOWN_MAX = 10_000
_CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti", "sid"]


class Role(str, Enum):
    """What a person may do; each may also do what those before it may.

    viewer: read. operator: acknowledge, resolve, change the severity. admin: users, keys, audit.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Identity(Struct, frozen=True, kw_only=True):
    """Who asks, by a token of which login."""

    user_id: str
    email: str
    role: Role
    session_id: UUID

    def require(self, needed: Role) -> None:
        """Refuse (403) whoever has too low a role."""
        if not self.role.covers(needed):
            raise Refusal(403, f"this needs the role {needed.value}, yours is {self.role.value}")


class _Claims(Struct, frozen=True):
    """What a good token says. expires_at: seconds since 1970."""

    session_id: UUID
    expires_at: int


class Tokens:
    """Signs access tokens and reads them. A token names a session; what holds is the session.

    What was found good is not read again until it expires.
    Raises SettingsError when the secret is missing or short.
    """

    def __init__(self, settings: Settings) -> None:
        self._secrets = require_jwt_secrets(settings)
        self._ttl = timedelta(seconds=settings.jwt_ttl_s)
        self._known: dict[str, _Claims] = {}

    def issue(self, user_id: UUID, session_id: UUID, session_end: datetime) -> tuple[str, int]:
        """Return a token, and the seconds that it is good for: no longer than its session."""
        now = datetime.now(timezone.utc)
        end = min(now + self._ttl, session_end)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": str(user_id),
            "sid": str(session_id),
            "jti": uuid4().hex,
            "iat": now,
            "exp": end,
        }
        token = jwt.encode(claims, self._secrets[0], algorithm=ALGORITHM)
        return token, max(0, round((end - now).total_seconds()))

    def session_of(self, token: str) -> UUID:
        """Return which session a token is of. Refuses (401) one that is not good."""
        known = self._known.get(token)
        if known is not None and time.time() < known.expires_at:
            return known.session_id
        claims = self._read(token)
        if len(self._known) >= _KNOWN_MAX:
            self._known.clear()
        self._known[token] = claims
        return claims.session_id

    def _read(self, token: str) -> _Claims:
        for secret in self._secrets:
            try:
                return _claims_of(token, secret)
            except jwt.InvalidSignatureError:
                continue
            except jwt.ExpiredSignatureError:
                raise unauthorized("the access token has expired: refresh it or log in") from None
            except (jwt.PyJWTError, ValueError):
                break
        raise unauthorized("the access token is not valid: log in again")


def _claims_of(token: str, secret: str) -> _Claims:
    claims = jwt.decode(
        token,
        secret,
        algorithms=[ALGORITHM],
        issuer=ISSUER,
        audience=AUDIENCE,
        options={"require": _CLAIMS},
    )
    sid = claims["sid"]
    if not isinstance(sid, str):
        raise ValueError("sid is no text")  # noqa: TRY004 (whoever calls takes it as bad input)
    return _Claims(UUID(sid), int(claims["exp"]))


def bearer(request: Request) -> str | None:
    """Return what the request carries as a bearer token, if anything."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def unauthorized(detail: str) -> Refusal:
    """Return the refusal of a request that has not proved who sends it."""
    return Refusal(401, detail, headers={"WWW-Authenticate": 'Bearer realm="tocsin"'})

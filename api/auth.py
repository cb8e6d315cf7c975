"""Who asks: access tokens and what each role may do."""

from datetime import datetime, timedelta, timezone
from enum import Enum
from uuid import uuid4

import jwt
from msgspec import Struct
from sanic import Request

from api.problems import Refusal
from tocsin.settings import Settings, require_jwt_secret

ALGORITHM = "HS256"
ISSUER = "tocsin"
AUDIENCE = "tocsin-api"
_CLAIMS = ["exp", "iat", "iss", "aud", "sub", "jti", "role"]


class Role(str, Enum):
    """What a person may do; each may also do what those before it may.

    viewer: read. operator: acknowledge, resolve, change the severity. admin: add users.
    """

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether this role may do what `needed` may."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


class Identity(Struct, frozen=True):
    """Whose token it is."""

    user_id: str
    role: Role


class AccessToken(Struct, frozen=True, kw_only=True):
    """What a login answers. expires_in: seconds."""

    access_token: str
    token_type: str
    expires_in: int


class Tokens:
    """Signs access tokens and reads them.

    Raises SettingsError when the secret is missing or short.
    """

    def __init__(self, settings: Settings) -> None:
        self._secret = require_jwt_secret(settings)
        self._ttl_s = settings.jwt_ttl_s

    def issue(self, user_id: str, role: Role) -> AccessToken:
        """Return a token for a user who has just proved who they are."""
        now = datetime.now(timezone.utc)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": user_id,
            "role": role.value,
            "jti": uuid4().hex,
            "iat": now,
            "exp": now + timedelta(seconds=self._ttl_s),
        }
        token = jwt.encode(claims, self._secret, algorithm=ALGORITHM)
        return AccessToken(access_token=token, token_type="Bearer", expires_in=self._ttl_s)  # noqa: S106 (a scheme, no secret)

    def require(self, request: Request, needed: Role = Role.VIEWER) -> Identity:
        """Return who asks; refuse without a good token (401) or with too low a role (403)."""
        identity = self._identity(bearer(request))
        if not identity.role.covers(needed):
            raise Refusal(
                403, f"this needs the role {needed.value}, yours is {identity.role.value}"
            )
        return identity

    def _identity(self, token: str | None) -> Identity:
        if token is None:
            raise unauthorized("send an access token as `Authorization: Bearer <token>`")
        try:
            claims = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                issuer=ISSUER,
                audience=AUDIENCE,
                options={"require": _CLAIMS},
            )
            return Identity(claims["sub"], Role(claims["role"]))
        except jwt.ExpiredSignatureError:
            raise unauthorized("the access token has expired: log in again") from None
        except (jwt.PyJWTError, ValueError):
            raise unauthorized("the access token is not valid: log in again") from None


def bearer(request: Request) -> str | None:
    """Return what the request carries as a bearer token, if anything."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    return token.strip() or None if scheme.lower() == "bearer" else None


def unauthorized(detail: str) -> Refusal:
    """Return the refusal of a request that has not proved who sends it."""
    return Refusal(401, detail, headers={"WWW-Authenticate": 'Bearer realm="tocsin"'})

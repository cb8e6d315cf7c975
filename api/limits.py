"""Rate limits: how much one ingest key, one address or one account may ask for in a window."""

import hashlib
import math
import time
from collections.abc import Callable

from limits import parse
from msgspec import Struct
from sanic import Request

from api.addresses import Addresses
from api.counts import Counts
from api.metrics import RATE_LIMITED
from api.problems import Refusal
from tocsin.settings import Settings

UNLIMITED_PATHS = frozenset({"/healthz", "/readyz"})


class Rule(Struct, frozen=True):
    """A limit: so many of something in a window. prefix: of what is counted for each."""

    name: str
    prefix: str
    most: int
    window_s: int
    told: str


class Limits:
    """Refuses (429) what goes over a limit, and says when to try again.

    Windows are fixed: they cost one look-up however much they count. What is refused counts, too:
    whoever does not wait is let in no sooner.
    """

    def __init__(
        self,
        settings: Settings,
        addresses: Addresses,
        counts: Counts,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._addresses = addresses
        self._counts = counts
        self._clock = clock
        self._key_records = _rule("key", settings.limit_key_records, "records of one ingest key")
        self._address_records = _rule(
            "address", settings.limit_address_records, "records from one address"
        )
        self._address_requests = _rule(
            "requests", settings.limit_address_requests, "requests from one address"
        )
        self._address_logins = _rule(
            "logins", settings.limit_address_logins, "logins from one address"
        )
        self._account_logins = _rule(
            "account", settings.limit_account_logins, "logins into one account"
        )

    @property
    def counts_requests(self) -> bool:
        """Whether requests of any kind are limited."""
        return self._address_requests is not None

    async def request(self, request: Request) -> None:
        """Count a request of any kind."""
        if self._address_requests is not None and request.path not in UNLIMITED_PATHS:
            await self._take(self._address_requests, self._addresses.site(request), 1)

    async def records(self, request: Request, key_id: str, count: int) -> None:
        """Count the records of a request, good and bad ones."""
        if self._key_records is not None:
            await self._take(self._key_records, key_id, count)
        if self._address_records is not None:
            await self._take(self._address_records, self._addresses.site(request), count)

    async def login(self, request: Request) -> None:
        """Count an attempt to log in, before it costs anything."""
        if self._address_logins is not None:
            await self._take(self._address_logins, self._addresses.site(request), 1)

    async def account(self, email: str) -> None:
        """Count an attempt at the password of an account, whether or not there is such a one."""
        if self._account_logins is not None:
            name = hashlib.sha256(email.lower().encode(errors="replace")).hexdigest()
            await self._take(self._account_logins, name, 1)

    async def close(self) -> None:
        """Close what the counts have open."""
        await self._counts.close()

    async def _take(self, rule: Rule, who: str, cost: int) -> None:
        if cost > rule.most:
            raise Refusal(413, f"{cost} records, over the limit of {rule.told}: send fewer at once")
        key = rule.prefix + who
        if await self._counts.incr(key, rule.window_s, cost) > rule.most:
            RATE_LIMITED.labels(rule.name).inc()
            wait_s = max(1, math.ceil(await self._counts.get_expiry(key) - self._clock()))
            raise Refusal(
                429,
                f"over the limit of {rule.told}: try again in {wait_s} s",
                headers={
                    "Retry-After": str(wait_s),
                    "RateLimit-Limit": str(rule.most),
                    "RateLimit-Remaining": "0",
                    "RateLimit-Reset": str(wait_s),
                },
            )


def _rule(name: str, rate: str, wording: str) -> Rule | None:
    if rate == "off":
        return None
    item = parse(rate)
    window_s = item.get_expiry()
    told = f"{item.amount} {wording} in {window_s} s"
    return Rule(name, f"tocsin/{name}/", item.amount, window_s, told)

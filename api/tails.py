"""Those who watch: each with a filter and a bounded queue, all fed by one source."""

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator
from datetime import timedelta, timezone
from enum import Enum

import msgspec
from msgspec import Raw

from api.evidence import StoredLog
from api.log_filters import LogFilter
from api.problems import unavailable
from api.tail_source import Arrived, TailSource
from api.topic import Topic
from tocsin.errors import BrokerError
from tocsin.records import EPOCH
from tocsin.settings import Settings

RECORDS_WAITING_MAX = 1_000
BYTES_WAITING_MAX = 4 * 1024 * 1024
WATCH_S = 5.0
_ASK_S = 2.0


class EndReason(str, Enum):
    """Why a tail ends. SESSION: the token is no longer good. SHUTDOWN: the process ends."""

    SESSION = "session"
    SHUTDOWN = "shutdown"


class Tail:
    """What one client is still to be sent.

    While it has RECORDS_WAITING_MAX records waiting, or BYTES_WAITING_MAX, further ones are
    skipped and counted; the count is told in their place.
    """

    def __init__(self, wanted: LogFilter) -> None:
        self.wanted = wanted
        self._waiting: deque[bytes] = deque()
        self._bytes = 0
        self._skipped = 0
        self._notices: list[bytes] = []
        self._end: bytes | None = None
        self._something = asyncio.Event()

    def offer(self, lines: list[bytes], skipped: int) -> None:
        """Queue what was found, after so many that nobody looked at."""
        self._skipped += skipped
        for line in lines:
            full = len(self._waiting) >= RECORDS_WAITING_MAX or self._bytes >= BYTES_WAITING_MAX
            if full or self._skipped:
                self._skipped += 1
            else:
                self._waiting.append(line)
                self._bytes += len(line)
        self._something.set()

    def notice(self, text: bytes) -> None:
        """Queue what is no record."""
        self._notices.append(text)
        self._something.set()

    def end(self, reason: EndReason, detail: str) -> None:
        """Have the tail end once what waits is sent."""
        self._end = event("end", {"reason": reason.value, "detail": detail})
        self._something.set()

    async def wait(self, timeout_s: float) -> None:
        """Return when there is something to send, or after the time."""
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._something.wait(), timeout_s)

    def take(self, bytes_max: int) -> tuple[bytes, bool]:
        """Return what to send next, in order, and whether that is all there ever will be."""
        self._something.clear()
        parts, size = self._notices, 0
        self._notices = []
        while self._waiting and size < bytes_max:
            line = self._waiting.popleft()
            parts.append(line)
            size += len(line)
        self._bytes -= size
        if self._waiting:
            self._something.set()
            return b"".join(parts), False
        if self._skipped:
            parts.append(event("skipped", {"records": self._skipped}))
            self._skipped = 0
        if self._end is not None:
            parts.append(self._end)
        return b"".join(parts), self._end is not None


class Tails:
    """All tails of this process. One source feeds them; it reads while there is a tail."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._most = settings.tails_max
        self._tails: tuple[Tail, ...] = ()
        self._source: TailSource | None = None
        self._topic: Topic | None = None
        self._topic_id = ""
        self._watch: asyncio.Task[None] | None = None
        self._away = ""
        """Why Kafka is away, where it is."""
        self._closed = False
        self._changing: asyncio.Lock
        self._loop: asyncio.AbstractEventLoop

    def start(self) -> None:
        """Be ready for tails, in the running event loop."""
        self._loop = asyncio.get_running_loop()
        self._changing = asyncio.Lock()

    def stop(self) -> None:
        """End all tails, and take no more."""
        self._closed = True
        for tail in self._tails:
            tail.end(EndReason.SHUTDOWN, "the API is going down: connect again")
        self._rest()

    @contextlib.asynccontextmanager
    async def watching(self, wanted: LogFilter) -> AsyncIterator[Tail]:
        """Lend a tail that every record is offered that arrives from now on.

        Refuses (503) when there are too many. Raises BrokerError when Kafka does not answer.
        """
        if self._closed:
            raise unavailable("the API is going down")
        if len(self._tails) >= self._most:
            raise unavailable(f"there are {self._most} live tails already")
        tail = Tail(wanted)
        self._tails = (*self._tails, tail)
        try:
            async with self._changing:
                if self._source is None:
                    await self._begin()
                elif self._away:
                    tail.notice(event("away", {"detail": self._away}))
            yield tail
        finally:
            self._tails = tuple(other for other in self._tails if other is not tail)
            if not self._tails:
                self._rest()

    async def _begin(self) -> None:
        """Read from the end of the topic on."""
        self._topic = self._topic or Topic(self._settings)
        topic_id = await self._topic.ask(_ASK_S)
        source = TailSource(self._settings, self._deliver)
        try:
            await source.start()
        except BaseException:
            source.stop()
            raise
        if self._closed or not self._tails:
            source.stop()
            return
        self._source, self._topic_id = source, topic_id
        if self._watch is None:
            self._watch = asyncio.create_task(self._watch_topic(self._topic))

    def _rest(self) -> None:
        """Read nothing while nobody watches."""
        if self._source is not None:
            self._source.stop()
            self._source = None
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        self._away = ""

    async def _watch_topic(self, topic: Topic) -> None:
        """Tell when Kafka is away and back, and follow a topic that was made anew."""
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                found = await topic.ask(_ASK_S)
                await self._follow(found)
            except BrokerError as error:
                if not self._away:
                    self._tell("away", {"detail": str(error)})
                self._away = str(error)
            else:
                if self._away:
                    self._tell("back", {})
                self._away = ""

    async def _follow(self, topic_id: str) -> None:
        """Begin anew on a topic that is another, or where the source has ended."""
        source = self._source
        if source is not None:
            if topic_id == self._topic_id and source.is_reading:
                return
            # Where the next can't begin, whoever comes is not to take this one for one that reads.
            source.stop()
            self._source = None
        async with self._changing:
            if self._source is None:
                await self._begin()

    def _tell(self, name: str, content: dict[str, str]) -> None:
        for tail in self._tails:
            tail.notice(event(name, content))

    def _deliver(self, arrived: list[Arrived], skipped: int) -> None:
        """Find for each tail what it wants; in the source's thread."""
        encoded: dict[int, bytes] = {}
        offers = []
        for tail in self._tails:
            lines = []
            for place, one in enumerate(arrived):
                record = one.record
                if tail.wanted.admits(record.service_id, one.level, record.message, one.metadata):
                    if place not in encoded:
                        encoded[place] = _line(one)
                    lines.append(encoded[place])
            if lines or skipped:
                offers.append((tail, lines))
        if offers:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                self._loop.call_soon_threadsafe(_offer, offers, skipped)


def event(name: str, content: object) -> bytes:
    """Return a server-sent event."""
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(content) + b"\n\n"


def _offer(offers: list[tuple[Tail, list[bytes]]], skipped: int) -> None:
    for tail, lines in offers:
        tail.offer(lines, skipped)


def _line(one: Arrived) -> bytes:
    record = one.record
    return event(
        "log",
        StoredLog(
            timestamp=record.timestamp.astimezone(timezone.utc),
            service_id=record.service_id,
            level=one.level,
            message=record.message,
            metadata=Raw(one.metadata) if one.metadata else None,
            id=record.id,
            arrival=EPOCH + timedelta(milliseconds=one.arrival_ms),
        ),
    )

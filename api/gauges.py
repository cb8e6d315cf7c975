"""Looks at what waits in this process, once a second, and tells the metrics."""

import asyncio

from api.metrics import BYTES_IN_FLIGHT, POOL_CONNECTIONS, POOL_WAITING, RECORDS_IN_FLIGHT
from api.publisher import Publisher
from sql.reader import Reader

EVERY_S = 1.0


class Gauges:
    """Keeps the gauges true: a process that answers for several can't look into the others."""

    def __init__(self, reader: Reader, publisher: Publisher) -> None:
        self._reader = reader
        self._publisher = publisher
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin, in the running event loop."""
        self._task = asyncio.create_task(self._keep())

    def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()

    async def _keep(self) -> None:
        while True:
            self.look()
            await asyncio.sleep(EVERY_S)

    def look(self) -> None:
        """Set every gauge to what is."""
        records, size = self._publisher.in_flight
        RECORDS_IN_FLIGHT.set(records)
        BYTES_IN_FLIGHT.set(size)
        pool = self._reader.pool_use()
        POOL_CONNECTIONS.labels("used").set(pool.used)
        POOL_CONNECTIONS.labels("idle").set(pool.idle)
        POOL_WAITING.set(pool.waiting)

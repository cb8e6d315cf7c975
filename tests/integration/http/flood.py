"""Clients that send more than the broker takes: patient ones, impatient ones, one that looks."""

import http.client
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime, timezone

from tests.integration.http.conftest import Api

IMPATIENCE_S = 0.2


class Flood:
    """Clients that each send requests of so many records, and what they were told.

    statuses: of all requests that were answered. acknowledged: ids of the records that must be
    stored. alive: how often `/healthz` has answered. wrong: what none of them should have met.
    """

    def __init__(self, api: Api, service: str, *, records: int) -> None:
        self.statuses: Counter[int] = Counter()
        self.acknowledged: set[str] = set()
        self.alive = 0
        self.wrong: list[str] = []
        self._records = records
        self._api = api
        self._service = service
        self._now = datetime.now(timezone.utc).isoformat()
        self._names = itertools.count()
        self._headers = {"X-API-Key": api.key, "Content-Type": "application/json"}
        self._noting = threading.Lock()
        self._over = threading.Event()

    @contextmanager
    def running(self, *, once: int = 0, patient: int = 0, impatient: int = 0) -> Iterator[None]:
        """Let so many clients send; at the end, wait until each has what it wants."""
        loops = [self._send_again] * patient + [self._leave] * impatient + [self._look]
        threads = [threading.Thread(target=self._run, args=[loop]) for loop in loops]
        threads += [threading.Thread(target=self._run_once) for _ in range(once)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._over.set()
            for thread in threads:
                thread.join()

    def _run(self, loop: Callable[[], None]) -> None:
        try:
            while not self._over.is_set():
                loop()
        except Exception as error:  # noqa: BLE001  (the edge of a thread: told by the test)
            self.wrong.append(f"{loop.__name__}: {error!r}")

    def _run_once(self) -> None:
        try:
            self._send(*self._body())
        except Exception as error:  # noqa: BLE001  (the edge of a thread: told by the test)
            self.wrong.append(f"once: {error!r}")

    def _send_again(self) -> None:
        """Send a request again, under the same ids, until it is acknowledged."""
        ids, body = self._body()
        while (retry_after_s := self._send(ids, body)) is not None:
            self._over.wait(retry_after_s)

    def _leave(self) -> None:
        """Send a request and leave without its answer: what it brought stays in flight."""
        with suppress(OSError):
            self._post(self._body()[1], IMPATIENCE_S)
        self._over.wait(IMPATIENCE_S)

    def _send(self, ids: list[str], body: bytes) -> int | None:
        """Return None when it is acknowledged, else after how many seconds to try again."""
        status, retry_after = self._post(body, self._patience_s)
        with self._noting:
            self.statuses[status] += 1
            if status == 202:
                self.acknowledged.update(ids)
                return None
        assert status == 503, status
        assert retry_after is not None
        assert int(retry_after) >= 1
        return int(retry_after)

    def _look(self) -> None:
        connection = self._connect(self._patience_s)
        try:
            connection.request("GET", "/healthz")
            assert connection.getresponse().status == 200
            self.alive += 1
        finally:
            connection.close()
        self._over.wait(0.1)

    @property
    def _patience_s(self) -> float:
        """No request may take longer; what is over the time-out is this machine's share."""
        return self._api.settings.publish_timeout_s + 30

    def _post(self, body: bytes, timeout_s: float) -> tuple[int, str | None]:
        connection = self._connect(timeout_s)
        try:
            connection.request("POST", "/ingest", body, self._headers)
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers["Retry-After"]
        finally:
            connection.close()

    def _connect(self, timeout_s: float) -> http.client.HTTPConnection:
        settings = self._api.settings
        return http.client.HTTPConnection(settings.api_host, settings.api_port, timeout=timeout_s)

    def _body(self) -> tuple[list[str], bytes]:
        """Return the ids and the body of a request that nobody has sent yet."""
        with self._noting:
            name = next(self._names)
        ids = [f"{name}-{number}" for number in range(self._records)]
        head = f'{{"timestamp":"{self._now}","service_id":"{self._service}","level":"INFO"'
        rest = f',"message":"{"m" * 80}"}}'
        return ids, ("[" + ",".join(f'{head},"id":"{id_}"{rest}' for id_ in ids) + "]").encode()

"""The end of the API under load: whatever reached Kafka is answered, and then it is over."""

import http.client
import json
import os
import signal
import socket
import threading
from collections.abc import Callable

import msgspec
import pytest

from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import record
from tests.integration.http.test_api_process import ready, workers_of
from tocsin.topics import create_topics

CLIENTS = 8


class Client:
    """Sends one record after the other on one connection, until the server is gone."""

    def __init__(self, api: Api, service: str, number: int) -> None:
        self._api = api
        self._service = service
        self._number = number
        self.answered: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        settings = self._api.settings
        headers = {"X-API-Key": self._api.key, "Content-Type": "application/json"}
        connection = http.client.HTTPConnection(
            settings.api_host, settings.api_port, timeout=WAIT_S
        )
        try:
            for count in range(1_000_000):
                name = f"{self._number}-{count}"
                body = json.dumps(record(self._service, message=name))
                connection.request("POST", "/ingest", body, headers)
                answer = connection.getresponse()
                answer.read()
                if answer.status == 202:
                    self.answered.append(name)
        except (OSError, http.client.HTTPException):
            return
        finally:
            connection.close()


@pytest.mark.parametrize("workers", [1, 2])
def test_api_that_is_told_to_end_under_load_answers_all_that_it_took(
    make_api: Callable[..., Api], service: str, workers: int
) -> None:
    api = make_api(TOCSIN_API_WORKERS=str(workers), TOCSIN_LOG_LEVEL="info")
    create_topics(api.settings)
    api.start_ready()
    wait_until(lambda: ready(api) == workers, "all workers", deadline_s=WAIT_S)
    assert api.key
    clients = [Client(api, service, number) for number in range(CLIENTS)]
    wait_until(
        lambda: all(len(client.answered) >= 20 for client in clients), "a load", deadline_s=WAIT_S
    )
    assert api.process is not None
    api.process.popen.send_signal(signal.SIGTERM)
    assert api.process.popen.wait(WAIT_S) == 0
    for client in clients:
        client.thread.join()
    answered = sorted(name for client in clients for name in client.answered)
    stored = [json.loads(found.value() or b"")["message"] for found in api.topic_records(service)]
    assert sorted(stored) == answered
    said = api.log.read_text()
    assert "Traceback" not in said
    assert "never confirmed" not in said


@pytest.mark.parametrize("workers", [1, 2])
def test_api_that_is_told_to_end_takes_no_connection_while_it_answers_what_it_took(
    make_api: Callable[..., Api], workers: int
) -> None:
    api = make_api(TOCSIN_API_WORKERS=str(workers))
    create_topics(api.settings)
    api.start_ready()
    wait_until(lambda: ready(api) == workers, "all workers", deadline_s=WAIT_S)
    assert api.process is not None
    process, address = api.process.popen, ("127.0.0.1", api.settings.api_port)

    def is_refused() -> bool:
        try:
            socket.create_connection(address).close()
        except ConnectionRefusedError:
            return True
        except ConnectionResetError:  # let in, as the listening ended
            return False
        return False

    body = msgspec.json.encode(record("shutdown"))
    head = f"POST /ingest HTTP/1.1\r\nHost: x\r\nX-API-Key: {api.key}\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    with socket.create_connection(address, timeout=WAIT_S) as client:
        client.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
        assert client.recv(4096).startswith(b"HTTP/1.1 100")
        for told in (process.pid, process.pid, *workers_of(api)):  # as systemd and others do
            os.kill(told, signal.SIGTERM)
        wait_until(is_refused, "nobody is let in any more", deadline_s=WAIT_S, every_s=0.01)
        assert process.poll() is None
        client.sendall(body)
        assert client.recv(4096).startswith(b"HTTP/1.1 202")
    assert process.wait(WAIT_S) == 0

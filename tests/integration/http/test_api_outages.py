"""Outages: nothing is acknowledged that Kafka does not have; reading and ingest fail apart."""

import http.client
import json
import signal
import time
from collections.abc import Callable

import psycopg
from psycopg import sql

from stack.broker import Broker
from stack.waiting import wait_until
from tests.integration.http.conftest import WAIT_S, Api
from tests.integration.http.test_api_ingest import assert_problem, record
from tocsin.topics import create_topics


def test_nothing_is_acknowledged_while_the_broker_is_away(
    make_api: Callable[..., Api], own_broker: Broker, service: str
) -> None:
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap, TOCSIN_PUBLISH_TIMEOUT_S="1")
    api.start_with_topic()
    wait_until(
        lambda: api.ingest(record(service)).status_code == 202,
        "the API takes records",
        deadline_s=WAIT_S,
    )
    own_broker.remove()
    began = time.monotonic()
    answer = api.ingest([record(service)] * 10)
    assert_problem(answer, 503)
    assert int(answer.headers["retry-after"]) >= 1
    assert time.monotonic() - began < 10

    own_broker.start()  # an empty one: producers must begin anew
    create_topics(api.settings)
    wait_until(
        lambda: api.ingest(record(service)).status_code == 202,
        "the API takes records again",
        deadline_s=WAIT_S,
    )
    assert api.topic_records(service)


def test_api_starts_without_a_broker_and_says_so(
    make_api: Callable[..., Api], own_broker: Broker, service: str
) -> None:
    own_broker.stop()
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap, TOCSIN_PUBLISH_TIMEOUT_S="0.5")
    api.start()
    assert "kafka" in str(assert_problem(api.client.get("/readyz"), 503)["detail"])
    assert_problem(api.ingest(record(service)), 503)
    own_broker.start()
    assert_problem(api.ingest(record(service)), 503)
    wait_until(
        lambda: "no topic" in api.client.get("/readyz").text,
        "the missing topic is named",
        deadline_s=WAIT_S,
    )
    create_topics(api.settings)
    wait_until(
        lambda: api.client.get("/readyz").status_code == 200, "ready again", deadline_s=WAIT_S
    )
    wait_until(
        lambda: api.ingest(record(service)).status_code == 202,
        "the API takes records",
        deadline_s=WAIT_S,
    )


def test_broker_that_comes_back_empty_is_written_again_within_seconds(
    make_api: Callable[..., Api], own_broker: Broker, service: str
) -> None:
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap)
    api.start_with_topic()
    assert api.ingest(record(service)).status_code == 202
    own_broker.kill()
    own_broker.remove()
    own_broker.start()
    assert_problem(api.ingest(record(service)), 503)
    missing = f"there is no topic {api.settings.topic}: run `tocsin migrate`"
    wait_until(
        lambda: missing in api.ingest(record(service)).json()["detail"],
        "the missing topic is named",
        deadline_s=WAIT_S,
    )
    wait_until(
        lambda: missing in api.client.get("/readyz").text,
        "its probe names the missing topic",
        deadline_s=WAIT_S,
    )
    assert "logs" in "".join(create_topics(api.settings))  # nobody else has made it meanwhile
    wait_until(
        lambda: api.ingest(record(service)).status_code == 202,
        "the API takes records again",
        deadline_s=WAIT_S,
    )
    wait_until(
        lambda: api.client.get("/readyz").status_code == 200, "ready again", deadline_s=WAIT_S
    )
    assert api.topic_records(service)


def test_known_key_ingests_while_the_database_is_away(
    make_api: Callable[..., Api], database_url: str, service: str
) -> None:
    api = make_api()
    api.start_with_topic()
    reader = api.headers("viewer")
    assert api.ingest(record(service)).status_code == 202
    unseen = "tcs_0123456789abcdef_secret"
    with database_away(database_url):
        assert api.ingest(record(service)).status_code == 202
        answer = api.client.get("/incidents", headers=reader)
        assert_problem(answer, 503)
        assert "retry-after" in answer.headers
        assert "database" in str(assert_problem(api.client.get("/readyz"), 503)["detail"])
        assert_problem(api.ingest(record(service), authorization=f"Bearer {unseen}"), 503)
    wait_until(
        lambda: api.client.get("/incidents", headers=reader).status_code == 200,
        "the API reads again",
        deadline_s=WAIT_S,
    )
    assert len(api.topic_records(service)) == 2


class database_away:  # noqa: N801 (reads as what it is: a context)
    """Refuses every connection to a database and ends those that are there."""

    def __init__(self, url: str) -> None:
        self._name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        self._admin = psycopg.conninfo.make_conninfo(url, dbname="postgres")

    def __enter__(self) -> None:
        self._allow(sql.SQL("false"))
        with psycopg.connect(self._admin, autocommit=True) as conn:
            conn.execute(
                "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s",
                [self._name],
            )

    def __exit__(self, *_: object) -> None:
        self._allow(sql.SQL("true"))

    def _allow(self, answer: sql.SQL) -> None:
        statement = sql.SQL("alter database {} allow_connections {}")
        with psycopg.connect(self._admin, autocommit=True) as conn:
            conn.execute(statement.format(sql.Identifier(str(self._name)), answer))


def test_terminated_api_answers_what_it_accepted(
    make_api: Callable[..., Api], own_broker: Broker, service: str
) -> None:
    api = make_api(KAFKA_BOOTSTRAP=own_broker.bootstrap)
    api.start_with_topic()
    assert api.ingest(record(service)).status_code == 202
    assert api.process is not None
    own_broker.pause()
    waiting = http.client.HTTPConnection(api.settings.api_host, api.settings.api_port)
    headers = {"X-API-Key": api.key, "Content-Type": "application/json"}
    waiting.request("POST", "/ingest", json.dumps(record(service)), headers)
    for _ in range(3):  # what came later is answered, so the server has read what came before
        assert api.client.get("/healthz").is_success
    api.process.popen.send_signal(signal.SIGTERM)
    wait_until(lambda: "Stopping" in api.log.read_text(), "the API stops", deadline_s=WAIT_S)
    assert api.process.exit_code() is None
    own_broker.resume()
    assert waiting.getresponse().status == 202
    waiting.close()
    assert api.process.popen.wait(WAIT_S) == 0
    assert len(api.topic_records(service)) == 2

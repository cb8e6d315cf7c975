"""Ingest keys over HTTP: made once, held to services, seen in use, revoked for good."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import Any

import psycopg
import pytest

from api.accounts import create_key
from api.key_use import KeyUse
from api.keys import FRESH_S
from sql.audit import Actor
from sql.keys import KeyTable
from sql.reader import Reader
from stack.waiting import wait_until
from tests.integration.http.conftest import Api
from tests.integration.http.test_api_ingest import assert_problem, record
from tests.integration.http.test_api_outages import database_away
from tocsin.errors import StorageError


def make(api: Api, name: str, **more: object) -> dict[str, Any]:
    body = {"name": name, **more}
    answer = api.client.post("/keys", json=body, headers=api.headers("admin"))
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def listed(api: Api) -> dict[str, dict[str, Any]]:
    answer = api.client.get("/keys", params={"limit": 100}, headers=api.headers("admin"))
    return {key["id"]: key for key in answer.json()["data"]}


def test_key_is_shown_once_and_works(api: Api, service: str) -> None:
    made = make(api, service)
    assert api.ingest(record(service), authorization=f"Bearer {made['key']}").status_code == 202
    answer = api.client.get("/keys", params={"limit": 100}, headers=api.headers("admin"))
    assert made["key"].split("_", 2)[2] not in answer.text
    assert "hash" not in answer.text
    assert listed(api)[made["id"]]["revoked_at"] is None


def test_revoked_key_is_refused_at_once_where_it_was_revoked(api: Api, service: str) -> None:
    made = make(api, service)
    carried = {"authorization": f"Bearer {made['key']}"}
    assert api.ingest(record(service), **carried).status_code == 202
    where = f"/keys/{made['id']}"
    answer = api.client.delete(where, headers=api.headers("admin"))
    assert answer.json()["revoked_at"] is not None
    assert_problem(api.ingest(record(service), **carried), 401)
    again = api.client.delete(where, headers=api.headers("admin"))
    assert again.json() == answer.json()
    assert make(api, service)["id"] != made["id"]  # its name is free again


def test_revoked_key_is_refused_by_every_worker(make_api: Callable[..., Api], service: str) -> None:
    api = make_api(TOCSIN_API_WORKERS="2")
    api.start_with_topic()
    made = make(api, service)
    carried = {"authorization": f"Bearer {made['key']}", "connection": "close"}
    answers = [api.ingest(record(service), **carried).status_code for _ in range(20)]
    assert set(answers) == {202}
    api.client.delete(f"/keys/{made['id']}", headers=api.headers("admin")).raise_for_status()
    wait_until(
        lambda: {api.ingest(record(service), **carried).status_code for _ in range(20)} == {401},
        "both workers refuse it",
        deadline_s=FRESH_S + 10,
    )


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "x" * 129},
        {"name": "nul\0"},
        {"name": "two\nlines"},
        {"name": None},
        {"name": "a", "services": []},
        {"name": "a", "services": "checkout"},
        {"name": "a", "services": [""]},
        {"name": "a", "services": ["nul\0"]},
        {"name": "a", "services": ["x" * 129]},
        {"name": "a", "services": [f"s{number}" for number in range(101)]},
        {"name": "a", "role": "admin"},
        [],
    ],
)
def test_key_that_cannot_be_is_refused(api: Api, body: object) -> None:
    assert_problem(api.client.post("/keys", json=body, headers=api.headers("admin")), 400)


@pytest.mark.parametrize("key_id", ["0" * 16, "x", "%00", "'%20OR%20true", "..%2f", "a" * 4000])
def test_key_that_is_none_is_not_found(api: Api, key_id: str) -> None:
    assert_problem(api.client.delete(f"/keys/{key_id}", headers=api.headers("admin")), 404)


def test_two_good_keys_share_no_name(api: Api, service: str) -> None:
    make(api, service)
    answer = api.client.post("/keys", json={"name": service}, headers=api.headers("admin"))
    assert_problem(answer, 409)


def test_key_of_some_services_sinks_no_record_but_those_of_others(api: Api, service: str) -> None:
    made = make(api, service, services=[service, f"{service}-batch-*"])
    assert made["services"] == [service, f"{service}-batch-*"]
    carried = {"authorization": f"Bearer {made['key']}"}
    answer = api.ingest(
        [
            record(f"{service}x"),
            record(service),
            {"service_id": service},
            record(f"{service}-batch-1"),
            record(f"not-{service}"),
        ],
        **carried,
    )
    assert answer.status_code == 202
    assert answer.json()["accepted"] == 2
    refused = {row["index"]: row["reason"] for row in answer.json()["refused"]}
    assert sorted(refused) == [0, 2, 4]
    assert refused[0] == refused[4]
    assert refused[0].startswith("service_id: the ingest key may send logs of")
    assert len(api.topic_records(service)) == 1
    assert len(api.topic_records(f"{service}x")) == 0
    assert_problem(api.ingest(record("other"), **carried), 400)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/loki/api/v1/push",
            {"streams": [{"stream": {"service_name": "other"}, "values": [["NOW", "line"]]}]},
        ),
        ("/_bulk", None),
    ],
)
def test_scope_holds_in_every_format(api: Api, service: str, path: str, body: object) -> None:
    made = make(api, service, services=[service])
    headers = {"x-api-key": made["key"]}
    if body is None:
        lines = '{"create":{"_index":"logs"}}\n{"message":"hello","service":{"name":"other"}}\n'
        kind = {"content-type": "application/x-ndjson"}
        answer = api.client.post(path, content=lines, headers={**headers, **kind})
    else:
        now = str(int(datetime.now(timezone.utc).timestamp() * 1e9))
        text = str(body).replace("NOW", now).replace("'", '"')
        kind = {"content-type": "application/json"}
        answer = api.client.post(path, content=text, headers={**headers, **kind})
    assert "the ingest key may send logs of" in answer.text, answer.text
    assert len(api.topic_records("other")) == 0


def test_use_of_a_key_is_seen_within_seconds(api: Api, service: str) -> None:
    made = make(api, service)
    assert listed(api)[made["id"]]["last_used_at"] is None
    api.ingest(record(service), authorization=f"Bearer {made['key']}")
    wait_until(
        lambda: listed(api)[made["id"]]["last_used_at"] is not None,
        "its use is written",
        deadline_s=30,
    )


def test_use_of_a_key_is_written_once_a_minute_and_kept_while_the_database_is_away(
    database_url: str,
) -> None:
    now = datetime(2026, 3, 2, 8, tzinfo=timezone.utc)

    def last_used() -> datetime | None:
        with psycopg.connect(database_url) as conn:
            [(at,)] = conn.execute("select last_used_at from ingest_keys").fetchall()
        return at  # type: ignore[no-any-return]  # a timestamptz

    async def work() -> None:
        nonlocal now
        reader = Reader(database_url)
        await reader.open()
        table = KeyTable(reader)
        await table.insert("ab", "shipper", b"x", None, by=Actor(name="test"))
        use, elsewhere = (KeyUse(table, clock=lambda: now) for _ in range(2))
        began = now
        use.note("ab")
        await use.write()
        assert last_used() == began
        for _ in range(59):
            now += timedelta(seconds=1)
            use.note("ab")
            await use.write()
            elsewhere.note("ab")
            await elsewhere.write()
        assert last_used() == began
        now += timedelta(seconds=1)
        with database_away(database_url):
            use.note("ab")
            with pytest.raises(StorageError):
                await use.write()
        now += timedelta(seconds=5)
        await use.write()
        assert last_used() == began + timedelta(minutes=1)
        await reader.close()

    asyncio.run(work())


def test_key_may_be_made_for_some_services_on_the_command_line(api: Api, service: str) -> None:
    key = create_key(api.settings, service, [service])
    carried = {"authorization": f"Bearer {key}"}
    assert api.ingest(record(service), **carried).status_code == 202
    assert_problem(api.ingest(record("other"), **carried), 400)

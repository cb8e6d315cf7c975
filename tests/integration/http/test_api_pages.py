"""Every command of the documentation that asks the API does what its page says."""

import json
import re
from collections.abc import Callable, Iterator

import psycopg
import pytest

from stack.commands import CHECKOUT
from tests.acceptance.programs import Folder, folder
from tests.conftest import skip_without_server
from tests.integration.conftest import Line
from tests.integration.http.conftest import PASSWORD, Api
from tests.integration.http.test_api_incidents import add_incident, database, get
from tests.integration.http.test_api_logs import add
from tests.integration.http.test_api_tail import tailing
from tests.integration.test_backtest_command import fill

__all__ = ["database"]


@pytest.fixture(scope="module")
def programs() -> Iterator[Folder]:
    with skip_without_server(), folder() as found:
        yield found


def commands(page: str) -> str:
    """Return the shell examples of a page that ask the API, as one script."""
    text = (CHECKOUT / "docs" / page).read_text()
    found = re.findall(r"^```sh\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return "\n".join(example for example in found if "curl" in example)


def run(programs: Folder, script: str, **variables: str) -> str:
    return programs.run("bash", "-euo", "pipefail", "-c", script, env=variables)


def test_page_of_logs_and_statistics_is_true(
    api: Api, database: psycopg.Connection, programs: Folder
) -> None:
    add(
        database,
        {"level": "ERROR", "message": "Card declined", "metadata": {"order": 17}},
        *({} for _ in range(3)),
    )
    script = commands("api.md")
    assert script.count("curl ") == 11
    email = api.person("viewer").email
    with tailing(api):  # with another, its own tail need not ask Kafka for the topic
        told = run(programs, script, TOCSIN_URL=api.url, EMAIL=email, PASSWORD=PASSWORD)
    assert "did you mean service_id?" in told
    assert '"message": "Card declined"' in told
    assert "event: start" in told
    assert '"shape": "Card declined"' in told


def test_page_of_incidents_is_true(
    api: Api, database: psycopg.Connection, programs: Folder
) -> None:
    incident_id = add_incident(database)
    script = commands("incidents.md")
    assert script.count("curl ") == 8
    token = api.headers("operator")["authorization"].removeprefix("Bearer ")
    told = run(programs, script, TOCSIN_URL=api.url, ID=incident_id, TOKEN=token)
    assert "somebody has changed the incident" in told
    moments = [entry["moment"] for entry in get(api, f"/incidents/{incident_id}/timeline")["data"]]
    assert moments == [
        *("acknowledged", "reclassified", "assigned", "commented", "resolved", "commented")
    ]
    assert get(api, f"/incidents/{incident_id}/label")["is_true"]
    [opened] = get(api, "/incidents", kind="manual")["data"]
    assert opened["title"] == "Customers cannot pay"


@pytest.mark.producers_time
def test_page_of_backtests_is_true(
    make_api: Callable[..., Api], line: Line, programs: Folder
) -> None:
    own = make_api(**fill(line).environ)
    own.start()
    script = commands("backtesting.md")
    assert script.count('ask "$TOCSIN_URL') == 5
    with pytest.raises(AssertionError, match="EMAIL: export that of an admin"):
        run(programs, script, TOCSIN_URL=own.url)
    email = own.person("admin").email
    with pytest.raises(AssertionError, match="no user has this address and password"):
        run(programs, script, TOCSIN_URL=own.url, EMAIL=email, PASSWORD=f"not {PASSWORD}")
    told = run(
        programs,
        f"cd {programs.inside}\n{script}\ngrep -o '<h1>[^<]*' backtest.html",
        TOCSIN_URL=own.url,
        EMAIL=email,
        PASSWORD=PASSWORD,
        SINCE="2026-03-02T08:00:00Z",
        UNTIL="2026-03-02T09:00:00Z",
    )
    first, *scores, title = told.splitlines()
    assert json.loads(first) == {"state": "done", "error": None, "share": 1, "records": 160}
    assert len(scores) == 1 + 3 * 2 + 1
    assert scores[0].startswith('{"candidate":"live","incidents":')
    assert "Backtest of 2026-03-02 08:00 to 2026-03-02 09:00 UTC" in title

"""The API against its own description: schemathesis asks for every operation, with every check."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.http.conftest import Api

EXAMPLES = 5
PHASES = {
    "anonymous": "--phases=examples,fuzzing",
    "admin": "--phases=examples,coverage,fuzzing",
    "leaving": "--phases=examples,coverage,fuzzing",
}
"""The long run also follows links from one operation to the next."""
EXAMPLES_LONG = 300
ENDS_ITS_SESSION = "/auth/logout"
"""Asked for in a run of its own: whatever came after it would only be told to log in again."""
BEYOND_A_SCHEMA = {
    "GET /(incidents|logs|logs/tail|stats/.*)": "`from` and `to`, or levels, bound each other",
    "POST /incidents": "`started_at` must lie within a month of now",
    "PATCH /incidents/{incident_id}": "`assignee` must be somebody, `If-Match` its revision",
    "DELETE /incidents/{incident_id}": "`If-Match` must be its revision",
    "POST /incidents/{incident_id}/(acknowledge|resolve)": "`If-Match` must be its revision",
    "POST /backtests": "`from` must lie before `to`, and settings have names and numbers",
    "POST /keys": "names must be printable",
    "POST /ingest": "a record's time must lie within a year of now",
    "POST /(v1/logs|loki/api/v1/push)": "protocols of their own, described elsewhere",
    "(POST|PUT) (/{index})?/_bulk": "lines of JSON",
}
"""What a schema can't say of some requests, for which they may be answered 400 all the same."""
REFUSED = [400, 401, 403, 404, 405, 409, 412, 413, 415, 431]
"""How what breaks the description may be answered; also for a head that grew too long (431)."""
ANONYMOUS, ADMIN, LEAVING = "anonymous", "admin", "leaving"


@pytest.fixture
def own_api(make_api: Callable[..., Api]) -> Api:
    api = make_api(
        TOCSIN_LOG_FORMAT="json",
        **{
            f"TOCSIN_LIMIT_{what}": "off"
            for what in (
                "KEY_RECORDS",
                "ADDRESS_RECORDS",
                "ADDRESS_REQUESTS",
                "ADDRESS_LOGINS",
                "ACCOUNT_LOGINS",
            )
        },
    )
    api.start_with_topic()
    return api


def configuration(api: Api, who: str) -> str:
    """Return what schemathesis is told: how each way to prove oneself is gone."""
    # Of an endless answer, as a tail is, the beginning is read. Nobody signs up by themselves.
    lines = ["max-stream-events = 1", "[auth]", "auto-signup = false"]
    lines += ["[checks]", "max_response_time = 60.0  # a busy machine is no mistake"]
    lines += ["[checks.negative_data_rejection]", f"expected-statuses = {REFUSED}"]
    if who != ANONYMOUS:
        lines += [
            "[auth.openapi.accessToken]",
            f'bearer = "{api.person("admin").access_token}"',
            "[auth.openapi.ingestKey]",
            f'bearer = "{api.key}"',
        ]
    for operations in BEYOND_A_SCHEMA:
        pattern = re.sub(r"[{}]", r"\\\g<0>", operations)
        lines += [
            "[[operations]]",
            f"include-name-regex = '^{pattern}$'",
            "[operations.checks.positive_data_acceptance]",
            'expected-statuses = ["2xx", 400, 401, 403, 404, 409, 412]',
        ]
    return "\n".join(lines)


def ask_everything(api: Api, folder: Path, who: str, examples: int, *options: str) -> None:
    """Run schemathesis; fail with what it found."""
    config = folder / f"{who}.toml"
    config.write_text(configuration(api, who))
    chosen = ["--include-path" if who == LEAVING else "--exclude-path", ENDS_ITS_SESSION]
    run = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"),
            f"--config-file={config}",
            "run",
            f"{api.url}/docs/openapi.json",
            "--checks=all",
            f"--max-examples={examples}",
            "--workers=2",
            "--continue-on-failure",
            "--no-color",
            *(chosen if who != ANONYMOUS else ()),
            *options,
        ],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Traceback" not in api.log.read_text()


@pytest.mark.timeout(900)
@pytest.mark.parametrize("who", [ANONYMOUS, ADMIN, LEAVING])
def test_api_is_as_it_is_described(own_api: Api, tmp_path: Path, who: str) -> None:
    ask_everything(own_api, tmp_path, who, EXAMPLES, "--generation-deterministic", PHASES[who])


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("who", [ANONYMOUS, ADMIN, LEAVING])
def test_api_is_as_it_is_described_at_length(own_api: Api, tmp_path: Path, who: str) -> None:
    ask_everything(own_api, tmp_path, who, EXAMPLES_LONG, "--generation-database=none")

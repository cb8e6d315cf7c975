"""Compose file, Dockerfile and Procfile agree, pin what they run and hold no secret."""

import json
import re
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import pytest
import yaml

from stack import kafka_jars, pglite_packages
from stack.commands import CHECKOUT, procfile_commands
from tocsin.settings import settings_table

COMPOSE_TEXT = (CHECKOUT / "docker-compose.yml").read_text()
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load(COMPOSE_TEXT)["services"]
DOCKERFILE = (CHECKOUT / "Dockerfile").read_text()
SECRETS = {
    "POSTGRES_PASSWORD",
    "TOCSIN_FLOW_PASSWORD",
    "TOCSIN_API_PASSWORD",
    "TOCSIN_ANALYST_PASSWORD",
    "GRAFANA_PASSWORD",
    "TOCSIN_JWT_SECRET",
}
PINNED = re.compile(r"[a-z/]+:\d+\.\d+\.\d+(-[a-z0-9]+)*")


def interpolations() -> list[tuple[str, str]]:
    """Every (variable, what follows it) of the compose file: `${NAME:?why}` gives `:?why`."""
    return re.findall(r"\$\{(\w+)([^}]*)\}", COMPOSE_TEXT)


@pytest.mark.parametrize("name", procfile_commands())
def test_compose_runs_what_the_procfile_runs(name: str) -> None:
    assert SERVICES[name]["command"] == procfile_commands()[name]


def test_image_runs_the_api_by_default() -> None:
    last_line = DOCKERFILE.strip().splitlines()[-1]
    assert yaml.safe_load(last_line.removeprefix("CMD ")) == procfile_commands()["api"]


def test_foreign_images_are_pinned_to_a_patch_release() -> None:
    foreign = {service["image"] for service in SERVICES.values() if "build" not in service}
    bases = set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE))
    assert {name.partition(":")[0] for name in foreign} == {
        "apache/kafka",
        "timescale/timescaledb",
        "grafana/grafana",
    }
    for image in foreign | bases:
        assert PINNED.fullmatch(image), image


def test_full_broker_is_the_kafka_of_the_compose_file() -> None:
    assert SERVICES["kafka"]["image"] == f"apache/kafka:{kafka_jars.version()}"


def test_pom_pins_what_it_takes_and_names_no_repository() -> None:
    pom = kafka_jars.POM.read_text()
    assert all(re.fullmatch(r"\d+(\.\d+)*", found) for found in re.findall("<version>(.*)<", pom))
    assert "repositor" not in pom.lower()


def test_packages_of_pglite_are_pinned_and_name_no_registry() -> None:
    lock = json.loads((pglite_packages.SOURCE / "package-lock.json").read_text())
    wanted = json.loads((pglite_packages.SOURCE / "package.json").read_text())["dependencies"]
    assert all(version[0].isdigit() for version in wanted.values())
    for place, package in lock["packages"].items():
        assert not place or package["integrity"].startswith("sha512-")
        assert "resolved" not in package
    assert "://" not in json.dumps(lock)


def test_compose_refuses_to_start_without_its_secrets() -> None:
    uses = [(name, rest) for name, rest in interpolations() if name in SECRETS]
    assert {name for name, _ in uses} == SECRETS
    for name, rest in uses:
        assert rest.startswith(":?"), f"{name} has a default or may be empty"


def test_only_known_variables_are_secrets_or_have_defaults() -> None:
    for name, rest in interpolations():
        assert name in SECRETS or rest.startswith(":-"), name


def test_env_example_names_every_variable_of_compose_and_holds_no_secret() -> None:
    example = (CHECKOUT / ".env.example").read_text()
    offered = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    assert set(offered) == {name for name, _ in interpolations()}
    assert all(offered[name] == "" for name in SECRETS)


def test_our_services_are_given_settings_that_exist() -> None:
    known = {variable for variable, _, _ in settings_table()}
    for service in SERVICES.values():
        if "build" in service:
            assert set(service["environment"]) <= known


def test_our_services_wait_for_the_migration() -> None:
    for name in procfile_commands():
        assert SERVICES[name]["depends_on"] == {
            "migrate": {"condition": "service_completed_successfully"}
        }


def test_ports_are_published_on_loopback_only() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_wheel_contains_every_statement_and_migration(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from hatchling.build import build_wheel  # noqa: PLC0415  (it reads the working directory)

    monkeypatch.chdir(CHECKOUT)
    names = set(ZipFile(tmp_path / build_wheel(str(tmp_path))).namelist())
    statements = {str(path.relative_to(CHECKOUT)) for path in CHECKOUT.glob("sql/**/*.sql")}
    assert statements
    assert statements <= names
    assert not [name for name in names if name.startswith(("stack/", "bench/", "tests/"))]

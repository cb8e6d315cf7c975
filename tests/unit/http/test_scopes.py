"""Whose records a key may send."""

import pytest

from api.scopes import Scope, check_services
from tocsin.errors import SettingsError
from tocsin.records import Refused


@pytest.mark.parametrize(
    ("services", "service_id", "is_inside"),
    [
        (["checkout"], "checkout", True),
        (["checkout"], "Checkout", False),
        (["checkout"], "checkout\n", False),
        (["checkout"], "my-checkout", False),
        (["checkout"], "checkout-2", False),
        (["batch-*", "cron"], "batch-7", True),
        (["batch-*", "cron"], "cron", True),
        (["batch-*", "cron"], "cronjob", False),
        (["batch-*"], "batch-\n7", True),
        (["a.b"], "axb", False),
        (["a|b"], "a", False),
        (["s?"], "s1", True),
        (["s[0-9]"], "sx", False),
    ],
)
def test_scope_is_of_whole_names(services: list[str], service_id: str, is_inside: bool) -> None:
    scope = Scope(services)
    if is_inside:
        scope.require(service_id)
    else:
        with pytest.raises(Refused, match="service_id: the ingest key may send logs of"):
            scope.require(service_id)


def test_each_record_outside_is_told_by_its_place() -> None:
    taken = [(name.encode(), b"{}") for name in ("a", "b", "a", "c")]
    inside, outside = Scope(["a"]).part(taken, {0, 3})
    assert inside == [taken[0], taken[2]]
    assert [place for place, _ in outside] == [2, 5]


def test_services_are_checked_and_told_once() -> None:
    assert check_services(["a", "b-*", "a"]) == ["a", "b-*"]
    for services in ([], [""], ["x" * 129], ["nul\0"], [str(number) for number in range(101)]):
        with pytest.raises(SettingsError, match="services"):
            check_services(services)

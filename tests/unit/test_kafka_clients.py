"""What every client of Kafka has in common, so that none is lost with a broker that restarts."""

from stack.commands import CHECKOUT
from tocsin.settings import Settings
from tocsin.topics import client_config


def test_no_client_is_configured_by_itself() -> None:
    sources = [
        path
        for name in ("api", "flows", "sql", "tocsin")
        for path in (CHECKOUT / name).rglob("*.py")
    ]
    own = [path for path in sources if "bootstrap.servers" in path.read_text()]
    assert own == [CHECKOUT / "tocsin/topics.py"]


def test_brokers_are_asked_for_again_within_seconds() -> None:
    """Longer than a restart takes, and no client would wait for the default's five minutes."""
    config = client_config(Settings(), "test")
    assert config["metadata.recovery.rebootstrap.trigger.ms"] <= 10_000
    assert config["socket.timeout.ms"] <= 10_000
    assert config["reconnect.backoff.max.ms"] <= 1_000

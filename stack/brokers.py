"""Which broker runs: the light one, or Apache Kafka where BROKER=kafka asks for it."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from stack import kafka_jars
from stack.broker import Broker, LightBroker
from stack.cache import Say, silent
from stack.errors import StackError
from stack.kafka import KafkaBroker

Kind = Literal["light", "kafka"]
NAMES: Mapping[Kind, str] = {"light": "the light broker", "kafka": "Apache Kafka"}


def chosen(environ: Mapping[str, str]) -> Kind:
    """Return the kind of broker that the environment names. Raises StackError on an unknown one."""
    name = environ.get("BROKER") or "light"
    for kind in NAMES:
        if kind == name:
            return kind
    raise StackError(f"BROKER={name}: the broker is light (the default) or kafka")


def make_ready(kind: Kind, say: Say = silent) -> None:
    """Fetch what the broker needs on this machine. Raises StackError when it can't be had."""
    if kind == "kafka":
        kafka_jars.fetch(say)


def make(
    kind: Kind, folder: Path, log: Path, *, port: int | None = None, say: Say = silent
) -> Broker:
    """Return a broker that is not yet started.

    folder: where it keeps its data, if it keeps them.
    """
    if kind == "kafka":
        return KafkaBroker(folder, log, port=port, say=say)
    return LightBroker(log, port=port)

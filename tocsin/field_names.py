"""Which fields of other formats hold what a record holds, by the names that their senders use."""

import re

import msgspec
from msgspec import Struct

_NAMES_MAX = 64
_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,128}")


class _Lists(Struct, frozen=True, forbid_unknown_fields=True):
    """The names of each field of a record, the first that is there wins."""

    timestamp: tuple[str, ...] = ("@timestamp", "timestamp", "ts", "time")
    service_id: tuple[str, ...] = (
        "service_id",
        "service.name",
        "service_name",
        "service",
        "app",
        "application",
        "app_name",
        "app_kubernetes_io_name",
        "job",
        "kubernetes.container.name",
        "k8s_container_name",
        "container.name",
        "container_name",
        "container",
        "component",
    )
    level: tuple[str, ...] = (
        "level",
        "log.level",
        "detected_level",
        "severity",
        "severity_text",
        "loglevel",
        "levelname",
    )
    message: tuple[str, ...] = ("message", "msg", "log", "body", "@message", "event.original")


class FieldNames:
    """The names under which other formats hold the fields of a record.

    A dot leads into an object: `log.level` is found in `{"log": {"level": …}}` and as it stands.
    """

    def __init__(self, text: str = "") -> None:
        """Read `level=severity,lvl;message=text` or the same as JSON; what is not named stays.

        Raises ValueError, in one line, that says what is wrong with it.
        """
        lists = _read(text)
        named: dict[str, str] = {}
        for field, names in msgspec.structs.asdict(lists).items():
            if not 0 < len(names) <= _NAMES_MAX:
                raise ValueError(f"{field} takes 1 to {_NAMES_MAX} names")
            for name in names:
                if not _NAME.fullmatch(name) or "" in name.split("."):
                    raise ValueError(f"{field}: {name[:40]!r} cannot be the name of a field")
                if name in named:
                    raise ValueError(f"{name!r} is named twice, for {named[name]} and for {field}")
                named[name] = field
        self.timestamp = lists.timestamp
        self.service_id = lists.service_id
        self.level = lists.level
        self.message = lists.message

    def __str__(self) -> str:
        """Return the names as the setting takes them."""
        return ";".join(f"{field}={','.join(names)}" for field, names in vars(self).items())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, FieldNames) and vars(self) == vars(other)

    def __hash__(self) -> int:
        return hash(str(self))


def _read(text: str) -> _Lists:
    if not text.strip().startswith("{"):
        return _convert(_listed(text))
    try:
        return msgspec.json.decode(text, type=_Lists)
    except msgspec.ValidationError as error:
        raise ValueError(_told(error)) from None
    except msgspec.DecodeError as error:
        raise ValueError(f"not valid JSON ({error})") from None


def _listed(text: str) -> dict[str, list[str]]:
    lists: dict[str, list[str]] = {}
    for part in filter(None, map(str.strip, text.split(";"))):
        field, equals, names = part.partition("=")
        field = field.strip()
        if not equals:
            raise ValueError(f"{part[:40]!r} is not of the form field=name,name")
        if field in lists:
            raise ValueError(f"{field} stands there twice")
        lists[field] = [name.strip() for name in names.split(",")]
    return lists


def _convert(lists: dict[str, list[str]]) -> _Lists:
    try:
        return msgspec.convert(lists, _Lists)
    except msgspec.ValidationError as error:
        raise ValueError(_told(error)) from None


def _told(error: msgspec.ValidationError) -> str:
    known = ", ".join(_Lists.__struct_fields__)
    text = str(error).replace(" - at `$", " in `")
    return f"{text[0].lower()}{text[1:]}: it takes {known}, each with a list of names"

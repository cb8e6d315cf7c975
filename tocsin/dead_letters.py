"""Records that were put aside, after the flow: their ids, and what may be sent of them again."""

import re
from datetime import datetime, timedelta

from msgspec import Struct

from tocsin.errors import SettingsError
from tocsin.outgoing import Outgoing
from tocsin.records import (
    EPOCH,
    RECORD_BYTES_MAX,
    REFUSED_BY_DATABASE,
    LogRecord,
    Refused,
    event_us_of,
    level_of,
    parse_record,
    refuse_untimely,
)

_ID = re.compile(r"([0-9]{1,5})/([0-9]{1,9})/([0-9]{1,18})", re.ASCII)
# For ten minutes the flow drops a repeated id; one more for clocks that differ.
_REPEAT = timedelta(minutes=11)
_JSON_SPACE = b" \t\r\n"


class LetterId(Struct, frozen=True, order=True):
    """Where the record was in the topic; written as `1/0/42`."""

    incarnation: int
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.incarnation}/{self.partition}/{self.offset}"

    @property
    def record_id(self) -> str:
        """The id that a record without one is sent again with: twice sent, it is stored once."""
        return f"redrive-{self.incarnation}-{self.partition}-{self.offset}"


class Redrive(Struct, frozen=True):
    """How far the sending of a letter has come; times are aware UTC.

    redriven_at: None while it is in doubt whether Kafka has it.
    partition, offset: where it is now.
    """

    begun_at: datetime
    redriven_at: datetime | None
    redriven_by: str | None
    partition: int | None
    offset: int | None


class LetterLine(Struct, frozen=True):
    """A dead letter without its bytes, as a list shows it.

    arrival: aware UTC. size_bytes: of the record as it came.
    """

    id: LetterId
    topic: str
    arrival: datetime
    reason: str
    key: bytes | None
    size_bytes: int
    redrive: Redrive | None


class StoredLetter(Struct, frozen=True):
    """A dead letter with its bytes.

    raw: as it came. corrected: what a redrive sends in its place, if somebody corrected it.
    """

    line: LetterLine
    raw: bytes
    corrected: bytes | None

    @property
    def id(self) -> LetterId:
        """The letter's id."""
        return self.line.id

    @property
    def record(self) -> bytes:
        """The record to send."""
        return self.raw if self.corrected is None else self.corrected

    @property
    def in_doubt(self) -> bool:
        """Whether a redrive began to send it and never learned what became of it."""
        return self.line.redrive is not None and self.line.redrive.redriven_at is None


class Sendable(Struct, frozen=True):
    """A letter that the contract allows now, with the message that it is sent as."""

    letter: StoredLetter
    record: LogRecord
    message: Outgoing

    @property
    def record_id(self) -> str:
        """The id that it is sent with."""
        return self.record.id or self.letter.id.record_id


def letter_id(text: str) -> LetterId:
    """Read an id as `1/0/42`. Raises SettingsError."""
    found = _ID.fullmatch(text)
    if found is None:
        raise SettingsError(
            f"{text!r}: not the id of a dead letter, give one as 1/0/42; "
            "`tocsin dead-letters list` shows them"
        )
    return LetterId(*map(int, found.groups()))


def sendable(letter: StoredLetter, now_ms: int) -> Sendable:
    """Return the letter as it is to be sent, with an id. Raises Refused with the reason.

    now_ms: when it would arrive, milliseconds since the epoch.
    """
    raw = letter.record
    if letter.corrected is None and not raw:  # a tombstone is kept as one, too
        raise Refused(letter.line.reason)
    if letter.corrected is None and letter.line.size_bytes > RECORD_BYTES_MAX:
        raise Refused(
            f"record: {letter.line.size_bytes} bytes, at most {RECORD_BYTES_MAX} are taken"
        )
    record = _accepted(raw, now_ms)
    if record.id is None:
        # The last field of a name counts, also after `"id": null`.
        raw = raw.rstrip(_JSON_SPACE)[:-1] + f',"id":"{letter.id.record_id}"}}'.encode()
        record = _accepted(raw, now_ms)
    elif letter.line.reason.startswith(REFUSED_BY_DATABASE):
        _refuse_repeat(letter.line.arrival, now_ms)
    headers = [("redriven", str(letter.id))]
    return Sendable(letter, record, Outgoing(record.service_id.encode(), raw, headers))


def _refuse_repeat(arrival: datetime, now_ms: int) -> None:
    """Raise Refused while the flow would drop a record for the id that it let pass before."""
    free_at = arrival + _REPEAT
    if now_ms <= (free_at - EPOCH) // timedelta(milliseconds=1):
        raise Refused(f"id: the flow takes it for a repetition until {free_at:%H:%M:%S} UTC")


def _accepted(raw: bytes, now_ms: int) -> LogRecord:
    record = parse_record(raw)
    level_of(record.level)
    refuse_untimely(event_us_of(record.timestamp), now_ms)
    return record

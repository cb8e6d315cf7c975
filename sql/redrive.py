"""Sends dead letters again, each once, whenever the command is killed.

A letter is claimed (committed), sent with an id, and marked (committed). Whoever dies between
claim and mark leaves it in doubt. For some minutes it may simply be sent again, since the flow
drops a repeated id of a service within ten minutes; later only if a person says so. A letter in
doubt that is already among the logs is marked, not sent. One redrive runs at a time. What is marked
at once is one entry of the audit log, in the same transaction.
"""

import time
from collections.abc import Sequence
from enum import Enum
from typing import Any

import psycopg
from msgspec import Struct

from sql.audit import command_line, entry
from sql.dead_letters import columns
from sql.statements import statements
from tocsin.dead_letters import LetterId, Sendable, StoredLetter, sendable
from tocsin.errors import StorageError
from tocsin.outgoing import ConfirmedProducer, Delivery
from tocsin.records import Refused

_SQL = statements("dead_letters")

RESEND_S = 8 * 60
"""How long a letter in doubt may be sent again: two minutes are left for its arrival."""
_CLAIM_S_MAX = 60


class Verdict(str, Enum):
    """What became of a letter that was to be sent again."""

    SENT = "sent again"
    SENDABLE = "would be sent"
    ALREADY = "was sent before"
    REFUSED = "still refused"
    IN_DOUBT = "in doubt"
    UNCONFIRMED = "not confirmed"


class Outcome(Struct, frozen=True):
    """The verdict on a letter, with its reason, time or place in words."""

    id: LetterId
    verdict: Verdict
    detail: str = ""


def preview(conn: psycopg.Connection, letters: Sequence[StoredLetter]) -> list[Outcome]:
    """Return what would become of the letters, without sending or claiming any."""
    known, ready = _sort_out(letters, _now_ms(conn))
    for each in ready:
        redrive = each.letter.line.redrive
        verdict = Verdict.SENDABLE if redrive is None else Verdict.IN_DOUBT
        known.append(Outcome(each.letter.id, verdict, _since(each.letter) if redrive else ""))
    return _in_order(letters, known)


class Redriver:
    """Sends letters again; hold one connection for it alone, in autocommit.

    by: who does it. even_late: whether a letter in doubt is sent whenever its doubt began.
    """

    def __init__(
        self, conn: psycopg.Connection, producer: ConfirmedProducer, *, by: str, even_late: bool
    ) -> None:
        """Raise StorageError when another redrive is running."""
        self._conn = conn
        self._producer = producer
        self._by = by
        self._even_late = even_late
        conn.execute(_SQL["notice_lost_clients"])
        [(taken,)] = conn.execute(_SQL["try_redrive_lock"]).fetchall()
        if not taken:
            raise StorageError("another redrive is running: wait for it to end")

    def redrive(self, letters: Sequence[StoredLetter]) -> list[Outcome]:
        """Send what may be sent and return what became of each letter.

        Raises StorageError when the database goes away; what was claimed by then is in doubt.
        """
        try:
            known, ready = _sort_out(letters, _now_ms(self._conn))
            found = self._found(ready)
            fresh = [each for each in ready if each.letter.id not in found]
            self._mark(found)
            known += [
                Outcome(letter, Verdict.SENT, f"to {_place(place)} before, it is among the logs")
                for letter, place in found.items()
            ]
            known += self._send(fresh)
        except psycopg.OperationalError as error:
            raise StorageError(
                f"the database went away ({' '.join(str(error).split())}), so the letters sent last"
                f" are in doubt: run the same again within {RESEND_S // 60} minutes,"
                " nothing is stored twice"
            ) from None
        return _in_order(letters, known)

    def _send(self, ready: Sequence[Sendable]) -> list[Outcome]:
        # Claimed at this time at the latest: a machine that slept in between must not send.
        before_s = time.time()
        claimed = self._claim(ready)
        outcomes = [
            Outcome(each.letter.id, Verdict.IN_DOUBT, _since(each.letter))
            for each in ready
            if each.letter.id not in claimed
        ]
        sending = [each for each in ready if each.letter.id in claimed]
        if time.time() - before_s > _CLAIM_S_MAX:
            raise StorageError("the database took longer than a minute: try again")
        if not sending:
            return outcomes
        deliveries = self._producer.deliver([each.message for each in sending])
        pairs = [(each.letter, found) for each, found in zip(sending, deliveries, strict=True)]
        self._mark({letter.id: found for letter, found in pairs if not found.problem})
        self._release(
            [letter.id for letter, found in pairs if found.too_large and not letter.in_doubt]
        )
        return outcomes + [_outcome(letter, found) for letter, found in pairs]

    def _found(self, ready: Sequence[Sendable]) -> dict[LetterId, Delivery]:
        """Return where those in doubt are that the flow has stored meanwhile."""
        doubtful = [each for each in ready if each.letter.in_doubt]
        if not doubtful:
            return {}
        rows = self._conn.execute(
            _SQL["select_stored_again"],
            {
                "service_ids": [each.record.service_id for each in doubtful],
                "timestamps": [each.record.timestamp for each in doubtful],
                "ids": [each.record_id for each in doubtful],
                "begun_at": [
                    each.letter.line.redrive and each.letter.line.redrive.begun_at
                    for each in doubtful
                ],
            },
        )
        return {
            doubtful[index].letter.id: Delivery(partition, offset)
            for index, partition, offset in rows
        }

    def _claim(self, ready: Sequence[Sendable]) -> set[LetterId]:
        rows = self._conn.execute(
            _SQL["claim_letters"],
            {
                **columns([each.letter.id for each in ready]),
                "corrected": [each.letter.corrected for each in ready],
                "even_late": self._even_late,
                "resend_s": RESEND_S,
            },
        )
        return {LetterId(*row) for row in rows}

    def _mark(self, places: dict[LetterId, Delivery]) -> None:
        if not places:
            return
        with self._conn.transaction():
            rows = self._conn.execute(
                _SQL["mark_redriven"],
                {
                    **columns(list(places)),
                    "to_partitions": [place.partition for place in places.values()],
                    "to_offsets": [place.offset for place in places.values()],
                    "redriven_by": self._by,
                },
            ).fetchall()
            self._conn.execute(*_audited({LetterId(*place): own for *place, own in rows}))

    def _release(self, ids: Sequence[LetterId]) -> None:
        if ids:
            self._conn.execute(_SQL["release_letters"], columns(ids))


def _sort_out(letters: Sequence[StoredLetter], now_ms: int) -> tuple[list[Outcome], list[Sendable]]:
    """Part the letters into those about which all is said, and those to send."""
    known, ready = [], []
    for letter in letters:
        redrive = letter.line.redrive
        if redrive is not None and redrive.redriven_at is not None:
            known.append(Outcome(letter.id, Verdict.ALREADY, f"at {redrive.redriven_at:%F %T} UTC"))
            continue
        try:
            ready.append(sendable(letter, now_ms))
        except Refused as refused:
            known.append(Outcome(letter.id, Verdict.REFUSED, str(refused)))
    return known, ready


def _audited(marked: dict[LetterId, bool]) -> tuple[bytes, dict[str, Any]]:
    """Return the audit log's entry. marked: the letters, and whether each was corrected."""
    letters = sorted(marked)
    return entry(
        command_line(),
        "dead_letters.redriven",
        letters[0] if len(letters) == 1 else None,
        letters=[str(letter) for letter in letters],
        corrected=[str(letter) for letter in letters if marked[letter]],
    )


def _outcome(letter: StoredLetter, delivery: Delivery) -> Outcome:
    if not delivery.problem:
        return Outcome(letter.id, Verdict.SENT, f"to {_place(delivery)}")
    verdict = Verdict.REFUSED if delivery.too_large else Verdict.UNCONFIRMED
    return Outcome(letter.id, verdict, f"by Kafka: {delivery.problem}")


def _in_order(letters: Sequence[StoredLetter], outcomes: Sequence[Outcome]) -> list[Outcome]:
    by_id = {outcome.id: outcome for outcome in outcomes}
    return [by_id[letter.id] for letter in letters]


def _since(letter: StoredLetter) -> str:
    redrive = letter.line.redrive
    return f"since {redrive.begun_at:%F %T} UTC" if redrive else "another redrive has it"


def _place(delivery: Delivery) -> str:
    return f"partition {delivery.partition}, offset {delivery.offset}"


def _now_ms(conn: psycopg.Connection) -> int:
    [(now_ms,)] = conn.execute(_SQL["select_now_ms"]).fetchall()
    return int(now_ms)

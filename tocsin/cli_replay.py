"""`tocsin replay`: send a range of the topic again to another one, for load tests and staging."""

import re
from typing import TYPE_CHECKING, Annotated

import typer
from msgspec import structs

from tocsin.cli_course import (
    INTERRUPTED,
    FromOption,
    OffsetsOption,
    ToOption,
    read_asked,
    shown_course,
    topic_named,
)
from tocsin.errors import BrokerError, NotSent, SettingsError
from tocsin.log import configure_logging
from tocsin.settings import Settings, load_settings
from tocsin.topics import named_by_hand

if TYPE_CHECKING:
    from flows.replay import Sent
    from flows.replay_target import Place

_BROKERS = re.compile(r"[^\s,:]+:[0-9]{1,5}(,[^\s,:]+:[0-9]{1,5})*|(\[[0-9a-fA-F:]+\]:[0-9]{1,5})")
_BEHIND_S = 1.0


def replay(
    to_topic: Annotated[
        str, typer.Option("--to-topic", help="Where they are sent; never the topic that is read")
    ],
    start: FromOption = None,
    end: ToOption = None,
    offsets: OffsetsOption = None,
    topic: Annotated[str | None, typer.Option(help="Another topic to read than the flow's")] = None,
    to_bootstrap: Annotated[
        str | None, typer.Option(help="HOST:PORT of another Kafka to send to")
    ] = None,
    speed: Annotated[str, typer.Option(help="1x, 10x, 0.5x … of the original pace, or max")] = "1x",
    shift_to_now: Annotated[
        bool,
        typer.Option("--shift-to-now", help="Move each `timestamp` as far as its arrival moves"),
    ] = False,
    create: Annotated[
        bool, typer.Option("--create", help="Make the topic if it is missing, like the one read")
    ] = False,
    into_live: Annotated[
        bool, typer.Option("--into-live", help="Allow a topic of the live flow")
    ] = False,
) -> None:
    """Send a range of the topic again to another one, in its order, each record confirmed.

    Key, value and headers stay as they are, and the partition where both topics have as many;
    else the key decides, as for producers. A flow that reads there drops a record whose `id` its
    service sent to the same topic within the last ten minutes, as the second of two replays would.
    """
    settings = load_settings()
    configure_logging(settings)
    from flows.pace import Pace, read_speed
    from flows.replay import replay as send
    from flows.replay_target import find_source, find_target
    from flows.topic_range import resolve

    factor, asked = read_speed(speed), read_asked(start, end, offsets)
    read = (
        settings
        if topic is None
        else structs.replace(settings, topic=topic_named("--topic", topic))
    )
    sent_to = _target(settings, to_topic, to_bootstrap)
    with named_by_hand(settings, topic):
        source = find_source(read)
    topic_range = resolve(read, asked)
    target = find_target(sent_to, source, settings, create=create, into_live=into_live)
    if into_live:
        typer.echo(
            f"tocsin: whoever reads {target.name} takes these records for new ones: they are"
            " stored, judged and told",
            err=True,
        )
    with shown_course() as course:
        sent = send(source, topic_range, target, Pace(factor), course, shift_to_now=shift_to_now)
    ends = {part.partition: part.end for part in topic_range.parts}
    _tell(sent, ends, target, has_ended_early=course.has_ended_early)


def _target(settings: Settings, topic: str, bootstrap: str | None) -> Settings:
    if bootstrap is not None and not _BROKERS.fullmatch(bootstrap):
        raise SettingsError(f"--to-bootstrap: {bootstrap[:40]!r} is no HOST:PORT")
    brokers = bootstrap or settings.kafka_bootstrap
    return structs.replace(
        settings, topic=topic_named("--to-topic", topic), kafka_bootstrap=brokers
    )


def _tell(sent: "Sent", ends: dict[int, int], target: "Place", *, has_ended_early: bool) -> None:
    """Print what was sent. Raises BrokerError, NotSent where not all was confirmed."""
    others = {"refused": sent.refused.total(), "not confirmed": sent.unconfirmed}
    told = "".join(f", {count:,} {what}" for what, count in others.items() if count)
    per_s = sent.confirmed / max(sent.took_s, 0.001)
    typer.echo(
        f"{sent.confirmed:,} records sent to {target.name} and confirmed{told},"
        f" in {sent.took_s:.1f} s ({per_s:,.0f}/s)"
    )
    if sent.behind_s > _BEHIND_S:
        typer.echo(
            f"ended {sent.behind_s:.0f} s behind the pace:"
            " the target or this machine could not keep up"
        )
    left = [
        f"{part}:{begin}-{ends[part]}"
        for part, begin in sorted(sent.next_offsets.items())
        if begin < ends[part]
    ]
    going_on = f"to go on: --offsets {','.join(left)}"
    if has_ended_early:
        typer.echo(f"stopped before the end; {going_on}" if left else "stopped at the end")
        raise typer.Exit(INTERRUPTED)
    if sent.unconfirmed:
        raise BrokerError(
            f"Kafka at {target.settings.kafka_bootstrap} has not confirmed {sent.unconfirmed:,}"
            f" records ({sent.problem}), they may be there all the same; {going_on}"
        )
    if sent.problem:
        raise BrokerError(f"{sent.problem}; {going_on}")
    if sent.refused:
        why = ", ".join(sent.refused)
        first = ", ".join(sent.first_refused)
        raise NotSent(f"the broker refused {sent.refused.total():,} ({why}), first {first}")

"""http-…: how many records the API confirms, beside what bounds it in the same run.

Every 202 is given out when Kafka has acknowledged the records. Single records come on one hundred
connections to one worker, and are held against a Sanic route that does nothing. Batches come on
sixteen to one worker, then to two, and are held against an idempotent producer that sends the same
records and does nothing else.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice

from confluent_kafka import Producer
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from bench import wrk
from bench.measurement import Figure
from bench.workload import wire_records
from stack.commands import CHECKOUT, Stack
from stack.errors import StackError
from stack.ports import LOOPBACK, free_port, is_free
from stack.processes import Process, end_with_starter
from stack.running import temporary
from stack.waiting import wait_until
from tocsin.topics import PARTITIONER

SINGLE, BATCHES, OTLP = "http-single", "http-batches", "http-otlp"
BATCH_RECORDS = 500
BATCH_CONNECTIONS = 16
PRODUCED = 300_000
_SEVERITIES = {"INFO": 9, "ERROR": 17}


def run_single(seconds: int) -> list[Figure]:
    """Return the rate of single records beside the empty route's, and the latency."""
    ((_, record),) = wire_records(1)
    with _api() as stack, _empty_route(stack) as empty:
        url, headers = f"{stack.api_url}/ingest", _headers(stack, "application/json")
        # Each half of the time before and after, for the machine's mood changes.
        first = wrk.ask(empty, seconds, body=record, headers=headers)
        found = _checked(wrk.ask(url, seconds, body=record, headers=headers))
        second = wrk.ask(empty, seconds, body=record, headers=headers)
    limit = (first.per_s + second.per_s) / 2
    return [
        Figure("confirmed", found.per_s, "records/s", limit, "empty Sanic route"),
        Figure("p50", found.p50_ms, "ms"),
        Figure("p99", found.p99_ms, "ms"),
    ]


def run_batches(seconds: int) -> list[Figure]:
    """Return the rate of records in batches of 500, beside a bare producer's."""
    records = [record for _, record in wire_records(BATCH_RECORDS)]
    return _rates(seconds, "/ingest", "application/json", b"[" + b",".join(records) + b"]")


def run_otlp(seconds: int) -> list[Figure]:
    """Return the rate of records in OTLP's protobuf, 500 in a request, beside a bare producer's."""
    return _rates(seconds, "/v1/logs", "application/x-protobuf", _otlp_body())


def _rates(seconds: int, path: str, media_type: str, body: bytes) -> list[Figure]:
    figures = []
    for workers, prefix in ((1, ""), (2, "by two workers, ")):
        with _api(workers) as stack:
            headers = _headers(stack, media_type)
            url = f"{stack.api_url}{path}"
            found = _checked(
                wrk.ask(url, seconds, body=body, headers=headers, connections=BATCH_CONNECTIONS)
            )
            limit = _producer_rate(stack)
        rate = found.per_s * BATCH_RECORDS
        figures += [
            Figure(f"{prefix}confirmed", rate, "records/s", limit, "bare idempotent producer"),
            Figure(f"{prefix}p99", found.p99_ms, "ms"),
        ]
    return figures


def _checked(found: wrk.Answers) -> wrk.Answers:
    if found.refused or found.broken:
        raise StackError(f"{found.refused} requests were refused, {found.broken} broken off")
    if not found.per_s:
        raise StackError("no request was answered: measure for longer")
    return found


@contextmanager
def _api(workers: int = 1) -> Iterator[Stack]:
    with temporary() as stack:
        stack.migrate()
        stack.create_credentials()
        stack.settings.update(
            TOCSIN_API_WORKERS=str(workers),
            TOCSIN_LIMIT_KEY_RECORDS="off",
            TOCSIN_LIMIT_ADDRESS_RECORDS="off",
            TOCSIN_LIMIT_ADDRESS_REQUESTS="off",
        )
        stack.start("api")
        stack.wait_ready()
        log = stack.folder / "log/api.log"
        wait_until(
            lambda: log.read_text().count("Worker ready") == workers, "all workers", deadline_s=30
        )
        yield stack


@contextmanager
def _empty_route(stack: Stack) -> Iterator[str]:
    port = free_port()
    argv = end_with_starter([sys.executable, "-m", "bench.empty_route", str(port)], "TERM")
    process = Process("empty", argv, log=stack.folder / "log/empty.log", cwd=CHECKOUT)

    def answers() -> bool:
        process.require_running()
        return not is_free(port)

    try:
        wait_until(answers, "the empty route", deadline_s=30)
        yield f"http://{LOOPBACK}:{port}/ingest"
    finally:
        process.stop()


def _headers(stack: Stack, media_type: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {stack.state.ingest_key}", "Content-Type": media_type}


def _otlp_body() -> bytes:
    message = ExportLogsServiceRequest()
    for service_id, raw in islice(wire_records(BATCH_RECORDS), BATCH_RECORDS):
        record = json.loads(raw)
        resource_logs = message.resource_logs.add()
        name = resource_logs.resource.attributes.add(key="service.name")
        name.value.string_value = service_id
        one = resource_logs.scope_logs.add().log_records.add()
        one.time_unix_nano = time.time_ns()
        one.severity_number = _SEVERITIES[record["level"]]  # type: ignore[assignment]  # an enum's
        one.body.string_value = record["message"]
        for key, value in record["metadata"].items():
            one.attributes.add(key=key).value.string_value = str(value)
    return bytes(message.SerializeToString())


def _producer_rate(stack: Stack) -> float:
    """Return what an idempotent producer gets acknowledged, that does nothing else."""
    wire = list(wire_records(PRODUCED))
    producer = Producer(
        {
            "bootstrap.servers": stack.kafka_bootstrap,
            "enable.idempotence": True,
            "partitioner": PARTITIONER,
            "compression.type": "lz4",
            "linger.ms": 2,
            "queue.buffering.max.messages": PRODUCED,
        }
    )
    began = time.perf_counter()
    for service_id, value in wire:
        producer.produce("logs", value, service_id)
    if producer.flush(60):
        raise StackError("the bare producer's records were not acknowledged within a minute")
    return len(wire) / (time.perf_counter() - began)

"""What the flow tells Prometheus, each under a name of its own.

A partition's numbers carry its number as a label. Counters count since the process started.
"""

from collections.abc import Iterator

from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tocsin.errors import SettingsError
from tocsin.settings import Settings
from tocsin.topics import admin_client, end_told

_SCRAPE_TIMEOUT_S = 3.0

_BATCH_RECORDS = (1, 10, 100, 1_000, 10_000)
_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

RECORDS = Counter("tocsin_flow_records", "Records read and kept")
DEAD_LETTERS = Counter("tocsin_flow_dead_letters", "Records put aside")
REPEATS = Counter("tocsin_flow_repeats", "Records left out, their id having been seen before")
BATCH_RECORDS = Histogram("tocsin_flow_batch_records", "Records of a batch", buckets=_BATCH_RECORDS)
LOST = Counter(
    "tocsin_flow_lost_records",
    "Records that retention removed before they were read",
    ["partition"],
)
STRAYS = Counter("tocsin_flow_strays", "Services that log to more than one partition")
LATE = Counter("tocsin_flow_late_records", "Records whose window was closed when they came")
WINDOWS = Counter(
    "tocsin_flow_windows", "Window rows written, again for each revision", ["verdict"]
)
INCIDENTS = Counter("tocsin_flow_incidents", "Steps in the lives of incidents", ["moment"])
COMMIT_SECONDS = Histogram(
    "tocsin_flow_commit_seconds",
    "Time that the database took for what was committed at once",
    ["writer"],
    buckets=_SECONDS,
)
ROOM = Gauge(
    "tocsin_flow_room_ratio",
    "How full the room between reading and storing is; at 1 reading waits",
)
WAITING = Gauge(
    "tocsin_flow_waiting_ratio",
    "How full the room before a writer is; at 1 its worker waits",
    ["writer"],
)
AWAY = Gauge("tocsin_flow_database_away", "1 while a writer cannot reach the database", ["writer"])


class Lag(Collector):
    """How much of the topic is unread, asked of the broker at each scrape: also while all stands.

    positions: where each partition is read on; this process' partitions alone.
    """

    def __init__(self) -> None:
        self.positions: dict[int, int] = {}
        self._settings = Settings()
        self._admin: AdminClient | None = None

    def begin(self, settings: Settings) -> None:
        """Know the broker and the topic."""
        self._settings = settings
        self._admin = admin_client(settings)

    def collect(self) -> Iterator[Metric]:
        """Yield the gauge; without any number while the broker is away."""
        gauge = GaugeMetricFamily(
            "tocsin_flow_lag_records", "Records on the topic, not read yet", labels=["partition"]
        )
        for partition, end in self._ends().items():
            gauge.add_metric([str(partition)], max(0, end - self.positions[partition]))
        yield gauge

    def _ends(self) -> dict[int, int]:
        admin = self._admin  # kept until it has answered: another scrape may replace it
        if admin is None or not self.positions:
            return {}
        wanted = {
            TopicPartition(self._settings.topic, part): OffsetSpec.latest()
            for part in self.positions
        }
        answers = admin.list_offsets(wanted, request_timeout=_SCRAPE_TIMEOUT_S)
        ends = {place.partition: end_told(answer) for place, answer in answers.items()}
        known = {partition: end for partition, end in ends.items() if end is not None}
        if not known and self._admin is admin:
            self._admin = admin_client(self._settings)
        return known


LAG = Lag()


def serve(settings: Settings) -> None:
    """Answer `GET /metrics` on the port that is set, if one is. Raises SettingsError if taken."""
    if not settings.flow_metrics_port:
        return
    LAG.begin(settings)
    REGISTRY.register(LAG)
    try:
        start_http_server(settings.flow_metrics_port, settings.flow_metrics_host)
    except OSError as error:
        raise SettingsError(
            f"TOCSIN_FLOW_METRICS_PORT: cannot listen on {settings.flow_metrics_host}:"
            f"{settings.flow_metrics_port} ({error.strerror})"
        ) from None

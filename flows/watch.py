"""A thread beside the flow that notices when its topic was deleted and made again."""

import threading

from tocsin.errors import BrokerError
from tocsin.settings import Settings
from tocsin.topics import describe_topic

_EVERY_S = 2.0


class TopicWatch:
    """Sets `remade` when the topic has another id than it began with.

    Its offsets start anew then: read on as before, the flow would lose what lies below the old
    position.
    """

    def __init__(self, settings: Settings, topic_id: str) -> None:
        self._settings = settings
        self._topic_id = topic_id
        self._finished = threading.Event()
        self.remade = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def finish(self) -> None:
        """End soon: nothing waits for a broker that does not answer."""
        self._finished.set()

    def _run(self) -> None:
        while not self._finished.wait(_EVERY_S):
            try:
                topic_id, _ = describe_topic(self._settings, self._settings.topic)
            except BrokerError:
                continue  # away, or deleted and not made again yet: wait for it
            if topic_id != self._topic_id:
                self.remade.set()
                return

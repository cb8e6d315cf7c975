"""The exception tree: every error that a person may meet, as one line that says what to do.

TocsinError
├── SettingsError        the environment does not describe a process that can run
├── BrokerError          Kafka cannot be reached or refuses
│   └── TopicMissing     a topic is not there yet
├── StorageError         the database cannot be reached or refuses
│   ├── NoTimescale      the server lacks the TimescaleDB extension
│   ├── SchemaOutdated   migrations are missing
│   ├── FlowRunning      another flow reads the topic
│   ├── PositionMoved    another flow wrote the same partition
│   └── TookTooLong      a question was given up for the time it took
├── RecoveryDamaged      the recovery store cannot be read
├── RecoveryTaken        another flow uses the recovery store
├── RecoveryAhead        the recovery store knows offsets that the database does not
├── WorkerEnded          a process of the API ended unasked
├── RangeUnusable        what is to be read again is not there, or not all of it
├── FileUnusable         a file cannot be read, or lacks what is needed
├── Disagreement         an incident is not what its ledger says
├── LabelsError          labels cannot be read, or are of what is not there
├── NotSent              what was to be sent again was not
├── StaleRevision        an incident was changed since it was read
├── WrongState           what was asked does not go with how things are
│   ├── LastAdmin        nobody would be left to administer
│   └── AlreadyRuns      another backtest has not ended
├── AlreadyExists        a user or key with that name is there
└── NotFound             nothing goes by that id
"""


class TocsinError(Exception):
    """An error with a message for people: what happened and what to do."""


class SettingsError(TocsinError):
    """A setting is missing or not usable; the message names its variable."""


class BrokerError(TocsinError):
    """Kafka cannot be reached, or refuses what was asked."""


class TopicMissing(BrokerError):
    """A topic that a process needs is not there."""


class StorageError(TocsinError):
    """The database cannot be reached, or refuses what was asked."""


class NoTimescale(StorageError):
    """The PostgreSQL server lacks the TimescaleDB extension."""


class SchemaOutdated(StorageError):
    """The database's schema is older or newer than this code."""


class FlowRunning(StorageError):
    """Another flow reads the same topic into the same database."""


class PositionMoved(StorageError):
    """Another flow moved the position of a partition that this one writes."""


class TookTooLong(StorageError):
    """The database was asked something that it could not answer within the time it was given."""


class RecoveryDamaged(TocsinError):
    """The recovery store cannot be read, or does not fit the topic."""


class RecoveryTaken(TocsinError):
    """Another flow uses the recovery store."""


class RecoveryAhead(TocsinError):
    """The recovery store has counted records that the database never stored."""


class WorkerEnded(TocsinError):
    """One of the API's processes ended, and nobody had asked it to."""


class RangeUnusable(TocsinError):
    """What is to be read again has no records, or not all of them any more."""


class FileUnusable(TocsinError):
    """A file of records cannot be read, or lacks what is needed of them."""


class Disagreement(TocsinError):
    """What is stored of an incident is not what it is recomputed to."""


class LabelsError(TocsinError):
    """Labels cannot be read, or they are of services that are not there."""


class NotSent(TocsinError):
    """A record or dead letter that was to be sent again was not, or it is not known."""


class AlreadyExists(TocsinError):
    """Something with that name exists."""


class StaleRevision(TocsinError):
    """Somebody has changed an incident since the one who would change it has read it."""


class WrongState(TocsinError):
    """What was asked for does not go with the state that something is in."""


class LastAdmin(WrongState):
    """Nobody would be left to administer."""


class AlreadyRuns(WrongState):
    """Another backtest has not ended. backtest_id: which, if it still has not."""

    def __init__(self, backtest_id: object) -> None:
        which = "another backtest" if backtest_id is None else f"backtest {backtest_id}"
        super().__init__(f"{which} has not ended: wait for its end, or cancel it")
        self.backtest_id = backtest_id


class NotFound(TocsinError):
    """Nothing goes by that id or name."""

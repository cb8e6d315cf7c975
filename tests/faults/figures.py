"""What a run of the suite found, as one table at its end."""

from msgspec import Struct

from tests.faults.rig import Found, Rig

_HEADS = (
    "fault",
    "faults",
    "records",
    "acknowledged",
    "records/s",
    "sent again",
    "lost",
    "duplicated",
    "windows",
    "incidents",
    "differences",
)


class Figures(Struct):
    """Rows of the table, in the order of the tests."""

    rows: list[tuple[str, ...]] = []

    def add(self, name: str, rig: Rig, found: Found) -> None:
        """Add what one test found."""
        load, storage = rig.load, found.storage
        self.rows.append(
            tuple(
                str(value)
                for value in (
                    name,
                    rig.faults,
                    len(load.sent),
                    load.count,
                    round(load.rate),
                    load.attempts_again,
                    len(storage.lost),
                    len(storage.duplicated),
                    found.windows,
                    found.incidents,
                    len(found.problems),
                )
            )
        )

    def lines(self) -> list[str]:
        """Return the table, one line a test."""
        table = [_HEADS, *self.rows]
        widths = [max(len(row[column]) for row in table) for column in range(len(_HEADS))]
        return [
            "  ".join(
                text.ljust(width) if column == 0 else text.rjust(width)
                for column, (text, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in table
        ]


FIGURES = Figures()

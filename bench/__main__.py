"""`python -m bench [--smoke] [scenario …]`: run scenarios, show and keep their figures."""

import argparse
import sys
from collections.abc import Callable

from rich.console import Console
from rich.table import Table

from bench import detector_memory, detector_rate, flow_throughput, time_to_incident
from bench.measurement import Figure, save
from stack.errors import StackError

FULL = {
    flow_throughput.ID: 1_000_000,
    time_to_incident.ID: 30,
    detector_rate.ID: 7 * 1440,
    detector_memory.ID: 10_000,
}
SMOKE = {
    flow_throughput.ID: 20_000,
    time_to_incident.ID: 2,
    detector_rate.ID: 200,
    detector_memory.ID: 200,
}
SCENARIOS: dict[str, Callable[[int], list[Figure]]] = {
    flow_throughput.ID: flow_throughput.run,
    time_to_incident.ID: time_to_incident.run,
    detector_rate.ID: detector_rate.run,
    detector_memory.ID: detector_memory.run,
}


def main() -> int:
    """Run the named scenarios, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("scenario", nargs="*", help=f"any of: {', '.join(SCENARIOS)}")
    parser.add_argument("--smoke", action="store_true", help="small, to see that it still runs")
    arguments = parser.parse_args()
    unknown = set(arguments.scenario) - set(SCENARIOS)
    if unknown:
        parser.error(f"no such scenario: {', '.join(sorted(unknown))}")
    console = Console()
    sizes = SMOKE if arguments.smoke else FULL
    table = Table("scenario", "figure", "value", "limit", "share of the limit")
    for name in arguments.scenario or SCENARIOS:
        with console.status(f"{name}, size {sizes[name]} …"):
            try:
                figures = SCENARIOS[name](sizes[name])
            except StackError as error:
                console.print(f"bench: {error}", style="red")
                return 1
        path = save(name, figures, {"size": sizes[name]})
        for figure in figures:
            table.add_row(name, figure.name, *_shown(figure))
        console.print(f"{name}: kept in {path}")
    console.print(table)
    return 0


def _shown(figure: Figure) -> tuple[str, str, str]:
    value = f"{figure.value:,.0f} {figure.unit}"
    if figure.limit is None or figure.share is None:
        return value, "", ""
    return value, f"{figure.limit:,.0f} {figure.unit} ({figure.limit_name})", f"{figure.share:.2f}"


if __name__ == "__main__":
    sys.exit(main())

"""`python -m bench [--smoke | --long] [scenario …]`: run scenarios, show and keep their figures.

`python -m bench compare A B` holds two sets of kept figures against each other.
"""

import argparse
import difflib
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

from bench import (
    backtest_rate,
    catch_up,
    compare,
    detector_memory,
    detector_rate,
    flow_graph,
    flow_memory,
    flow_throughput,
    http_rates,
    incident_list,
    sql_scale,
    stages,
    time_to_incident,
)
from bench.measurement import Figure, save, scenario_column
from stack.errors import StackError


class Scenario(NamedTuple):
    """What is measured, and how much of it.

    counts: what a size is a number of. full: with `make bench`. long: with `make bench-long`;
    None: not among the long ones. smoke: to see that it still runs.
    """

    run: Callable[[int], list[Figure]]
    counts: str
    full: int
    smoke: int
    long: int | None = None


SCENARIOS = {
    flow_throughput.ID: Scenario(flow_throughput.run, "records", 1_000_000, 20_000),
    flow_throughput.LARGE: Scenario(flow_throughput.run_large, "records", 200_000, 5_000),
    flow_throughput.MANY: Scenario(flow_throughput.run_many, "records", 1_000_000, 20_000),
    flow_graph.ID: Scenario(flow_graph.run, "records", 1_000_000, 20_000),
    catch_up.ID: Scenario(catch_up.run, "seconds away", 240, 4, 3600),
    time_to_incident.ID: Scenario(time_to_incident.run, "incidents", 30, 2),
    time_to_incident.UNDER_LOAD: Scenario(time_to_incident.run_under_load, "incidents", 100, 2),
    http_rates.SINGLE: Scenario(http_rates.run_single, "seconds", 10, 3),
    http_rates.BATCHES: Scenario(http_rates.run_batches, "seconds", 10, 3),
    http_rates.OTLP: Scenario(http_rates.run_otlp, "seconds", 10, 3),
    incident_list.ID: Scenario(incident_list.run, "incidents", 1_000_000, 1_000),
    flow_memory.ID: Scenario(flow_memory.run, "seconds", 60, 2, 3600),
    detector_rate.ID: Scenario(detector_rate.run, "minutes", 7 * 1440, 200),
    backtest_rate.ID: Scenario(backtest_rate.run, "records", 1_000_000, 20_000),
    detector_memory.ID: Scenario(detector_memory.run, "services", 10_000, 200),
    sql_scale.ID: Scenario(sql_scale.run, "logs", 1_000_000, 20_000, 10_000_000),
    stages.ID: Scenario(stages.run, "records", 500_000, 20_000),
}


def main() -> int:
    """Run the named scenarios, or all; or compare."""
    console = Console()
    try:
        if sys.argv[1:2] == ["compare"]:
            parser = argparse.ArgumentParser(prog="python -m bench compare")
            parser.add_argument("a", help="a file or folder of results, or the start of a commit")
            parser.add_argument("b", help="what is held against it")
            chosen = parser.parse_args(sys.argv[2:])
            console.print(compare.table(compare.read(chosen.a), compare.read(chosen.b)))
        else:
            console.print(_run(console, *_wanted()))
    except StackError as error:
        console.print(f"bench: {error}", style="red")
        return 1
    return 0


def _wanted() -> tuple[list[tuple[str, int]]]:
    """Return the scenarios that were asked for, with their sizes."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog="\n".join(["scenarios, and how much of each:", *map(_described, SCENARIOS)]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("scenario", nargs="*", help="which; all, if none is named")
    size = parser.add_mutually_exclusive_group()
    size.add_argument("--smoke", action="store_true", help="small, to see that it still runs")
    size.add_argument("--long", action="store_true", help="the long ones, up to an hour each")
    size.add_argument("--size", type=int, help="of the named scenarios, so much")
    asked = parser.parse_args()
    if asked.size is not None and (asked.size < 1 or not asked.scenario):
        parser.error("--size: name the scenarios, and give a size above 0")
    if unknown := sorted(set(asked.scenario) - set(SCENARIOS)):
        parser.error(f"no such scenario: {'; '.join(map(_hinted, unknown))}")
    wanted = []
    for name in asked.scenario or SCENARIOS:
        scenario = SCENARIOS[name]
        amount = scenario.smoke if asked.smoke else scenario.long if asked.long else scenario.full
        amount = asked.size or amount
        if amount is not None:
            wanted.append((name, amount))
    return (wanted,)


def _hinted(name: str) -> str:
    near = difflib.get_close_matches(name, SCENARIOS, n=1)
    return f"{name}, {f'did you mean {near[0]}?' if near else '`python -m bench -h` lists them'}"


def _described(name: str) -> str:
    scenario = SCENARIOS[name]
    long = f", --long: {scenario.long:,}" if scenario.long else ""
    sizes = f"{scenario.full:,}, --smoke: {scenario.smoke:,}{long}"
    return f"  {name:<20} {scenario.counts}: {sizes}"


def _run(console: Console, wanted: Sequence[tuple[str, int]]) -> Table:
    table = Table(scenario_column(), "figure", "value", "limit", "share of the limit")
    for number, (name, amount) in enumerate(wanted, 1):
        with console.status(
            f"{number} of {len(wanted)}: {name}, {amount:,} {SCENARIOS[name].counts} …"
        ):
            figures = SCENARIOS[name].run(amount)
        path = save(name, figures, {"size": amount})
        for figure in figures:
            table.add_row(name, figure.name, *_shown(figure))
        console.print(f"{name}: kept in {path}")
    return table


def _shown(figure: Figure) -> tuple[str, str, str]:
    value = f"{_number(figure.value)} {figure.unit}"
    if figure.limit is None or figure.share is None:
        return value, "", ""
    limit = f"{_number(figure.limit)} {figure.unit} ({figure.limit_name})"
    return value, limit, f"{figure.share:.2f}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


if __name__ == "__main__":
    sys.exit(main())

"""What docs/operations.md says of metrics is what there is."""

import re
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase

from api import metrics as api_metrics
from flows import metrics as flow_metrics

PAGE = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
LAG = "tocsin_flow_lag_records"


def names() -> set[str]:
    """Return the name of every metric as Prometheus shows it."""
    found = {LAG}
    for module in (api_metrics, flow_metrics):
        for metric in vars(module).values():
            if isinstance(metric, MetricWrapperBase):
                [family] = metric.describe()
                found.add(f"{family.name}_total" if family.type == "counter" else family.name)
    return {name for name in found if name.startswith("tocsin_")}


def blocks() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_every_metric_is_told_and_no_other() -> None:
    tables = "\n".join(line for line in PAGE.splitlines() if line.startswith("| `tocsin_"))
    assert set(re.findall(r"`(tocsin_\w+)`", tables)) == names()


def test_alerts_ask_for_metrics_that_there_are() -> None:
    [rules] = [block for block in blocks() if "groups" in block]
    asked = set()
    for rule in rules["groups"][0]["rules"]:
        assert re.fullmatch(r"Tocsin\w+", rule["alert"])
        asked |= set(re.findall(r"tocsin_\w+", rule["expr"].replace("tocsin-", "")))
        assert rule["expr"].count("(") == rule["expr"].count(")")
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= names()


def test_scrape_configuration_is_one() -> None:
    [config] = [block for block in blocks() if "scrape_configs" in block]
    for job in config["scrape_configs"]:
        assert set(job) == {"job_name", "scrape_interval", "static_configs"}
        [target] = job["static_configs"][0]["targets"]
        assert re.fullmatch(r"127\.0\.0\.1:\d+", target)

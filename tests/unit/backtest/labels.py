"""Labels as tests write them."""

from typing import Any

from flows.labels import Label


def label(service: str, start_ms: int, end_ms: int, **more: Any) -> Label:
    return Label(
        id=f"{service}:{start_ms}", service_id=service, start_ms=start_ms, end_ms=end_ms, **more
    )

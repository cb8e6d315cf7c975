"""How settings are told of to people: what one should be, and what it is, but for secrets."""

from pathlib import Path
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from msgspec import Meta

NONE = "(none)"
_URLS = frozenset({"DATABASE_URL", "TOCSIN_LIMIT_STORAGE"})
_SHOWN_MAX = 40


def refused(name: str, text: str, hint: Any, default: object) -> str:
    """Say in one line that `text` is no value of a setting, and what would be.

    hint: its annotated type. default: shown as an example.
    """
    example = "" if default == "" else f", as {default}"
    shown = "what it is set to" if is_secret(name) else repr(text[:_SHOWN_MAX])
    return f"{name}: {shown} is not {_expected(hint)}{example}"


def shown(name: str, value: object) -> str:
    """Return a value for people: of a secret only that it is set, of a URL no password."""
    if value == "":
        return NONE
    if name in _URLS:
        return _without_password(str(value))
    return "(set)" if is_secret(name) else str(value)


def is_secret(name: str) -> bool:
    """Tell whether the value of a setting may be, or hold, a secret."""
    return name in _URLS or "PASSWORD" in name or "SECRET" in name


def _expected(hint: Any) -> str:
    kind, *metas = get_args(hint)
    if get_origin(kind) is Literal:
        return " or ".join(map(str, get_args(kind)))
    found = [meta for meta in metas if isinstance(meta, Meta)]
    titles = [meta.title for meta in found if meta.title]
    if titles:
        return titles[0]
    bounds = [
        f"{word} {bound:,}"
        for meta in found
        for word, bound in (("above", meta.gt), ("at least", meta.ge), ("at most", meta.le))
        if bound is not None
    ]
    noun = {int: "a whole number", float: "a number", Path: "a path"}.get(kind, "usable")
    return f"{noun}, {' and '.join(bounds)}" if bounds else noun


def _without_password(text: str) -> str:
    """Return a URL with its password hidden; what is none is not shown at all."""
    try:
        url = urlsplit(text)
        has_password, user = url.password is not None, url.username or ""
    except ValueError:
        return "(set)"
    if not url.scheme:
        return text if text == "memory" else "(set)"
    # Parameters may hold one too: `?password=…`.
    bare = url._replace(query="", fragment="")
    if has_password:
        place = url.netloc.rpartition("@")[2]
        bare = bare._replace(netloc=f"{user}:***@{place}")
    return bare.geturl() + ("?…" if url.query else "")

"""`Idempotency-Key`: the ids that make the retry of a whole request safe.

A record that has no id of its own gets one that is the same at every retry; the flow counts and
stores it once (`flows/repeats.py`), whichever worker took it.
"""

import hashlib
import re

from sanic import Request

from api.openapi import Schema
from api.problems import Refusal

HEADER = "Idempotency-Key"
PARAMETER: Schema = {
    "name": HEADER,
    "in": "header",
    "required": False,
    "description": (
        "1 to 255 printable characters, another for each request and the same for its retries: "
        "within ten minutes each record of the request is stored once, however often it is sent"
    ),
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,255}")


class RetryIds:
    """The ids of one request's records.

    They depend on the sender, on its key and on what the body says. So neither the key of another
    sender nor one that is used for another body, by mistake, makes a repeat of what is none.
    """

    def __init__(self, sender: str, key: str, body: bytes) -> None:
        digest = hashlib.sha256(f"{sender}\0{key}\0".encode())
        digest.update(body)
        self._digest = digest.hexdigest()[:40]

    def of(self, index: int) -> str:
        """Return the id of the record at an index of the request."""
        return f"{self._digest}-{index}"


def retry_ids(request: Request, sender: str, body: bytes) -> RetryIds | None:
    """Return the ids that a request's records get, or None where it names no key.

    sender: the name of its ingest key. body: without its Content-Encoding.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return None
    if not _PRINTABLE.fullmatch(key):
        raise Refusal(400, f"{HEADER}: send 1 to 255 printable ASCII characters")
    return RetryIds(sender, key, body)

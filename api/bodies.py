"""JSON in and out: reading a request's body into a type, and writing an answer."""

from typing import Any, TypeVar

import msgspec
from sanic import HTTPResponse, Request

from api.problems import Refusal

JSON = "application/json"

T = TypeVar("T")


def require_json(request: Request) -> None:
    """Refuse a body that is not said to be JSON, or is compressed."""
    given = request.headers.get("content-type", "")
    if given.partition(";")[0].strip().lower() != JSON:
        raise Refusal(415, f"Content-Type: send {JSON}", headers={"Accept": JSON})
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refusal(415, "Content-Encoding: send the body uncompressed")


def read_body(request: Request, kind: type[T]) -> T:
    """Decode the body, refusing with what is wrong in it and where."""
    require_json(request)
    return decode(request.body, msgspec.json.Decoder(kind))


def decode(body: bytes, decoder: "msgspec.json.Decoder[T]") -> T:
    """Decode JSON of a type, refusing with what is wrong in it and where."""
    try:
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise Refusal(400, f"body: {error}") from None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"body: not valid JSON ({error})") from None
    except UnicodeDecodeError:
        raise Refusal(400, "body: not UTF-8") from None
    except RecursionError:
        raise Refusal(400, "body: nested too deeply") from None


def json_answer(content: Any, status: int = 200) -> HTTPResponse:
    """Return an answer in JSON."""
    return HTTPResponse(msgspec.json.encode(content), status=status, content_type=JSON)

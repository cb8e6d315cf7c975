"""JSON in and out: reading a request's body into a type, and writing an answer."""

from collections.abc import Iterator
from typing import Any, TypeVar, cast

import msgspec
from sanic import HTTPResponse, Request
from sanic.compat import Header

from api.complaints import complaint
from api.problems import Refusal

JSON = "application/json"
_CHARSETS = frozenset({"utf-8", "utf8"})

T = TypeVar("T")


class TooDeep(Refusal):
    """The refusal of JSON that is nested too deeply to be read."""

    def __init__(self) -> None:
        super().__init__(400, "body: nested too deeply")


class JsonAnswer(HTTPResponse):
    """An answer whose headers are encoded together where none of them holds a line break.

    Sanic translates and encodes each name and value, which costs more than all else that it does
    to an answer.
    """

    __slots__ = ()

    @property
    def processed_headers(self) -> Iterator[tuple[bytes, bytes]]:
        """The headers as bytes: as one, the value of the first holding the lines of the others."""
        self.headers.setdefault("content-type", self.content_type)
        lines = [f"{name}: {value}" for name, value in self.headers.items()]
        if not "".join(lines).isprintable():
            return super().processed_headers
        first, _, rest = "\r\n".join(lines).encode().partition(b": ")
        return iter([(first, rest)])


class ShortAnswer(JsonAnswer):
    """An answer of few headers, whose names are in small letters: they are a plain dictionary.

    To make and fill Sanic's own takes longer than to check the record that is answered.
    """

    __slots__ = ()

    def __init__(self, body: bytes, status: int) -> None:
        self.asgi, self.stream, self._cookies = False, None, None  # as Sanic begins
        self.body, self.status, self.content_type = body, status, JSON
        self.headers = cast("Header", {})


def media_type_of(request: Request) -> str:
    """Return the media type that a request names, without its parameters, in small letters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def require_media_type(request: Request, *accepted: str) -> str:
    """Return the media type of a body, refusing what is none of those or is not in UTF-8."""
    given = request.headers.get("content-type", "")
    if given in accepted:
        return given
    kind, *parameters = [part.strip().lower() for part in given.split(";")]
    if kind not in accepted:
        known = ", ".join(accepted)
        raise Refusal(415, f"Content-Type: send {known}", headers={"Accept": known})
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in _CHARSETS:
            raise Refusal(415, "Content-Type: send UTF-8, in no other charset")
    return kind


def require_json(request: Request) -> None:
    """Refuse a body that is not said to be JSON, or is compressed."""
    require_media_type(request, JSON)
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
        raise Refusal(400, f"body: {complaint(error, decoder.type)}") from None
    except msgspec.DecodeError as error:
        raise Refusal(400, f"body: not valid JSON ({error})") from None
    except UnicodeDecodeError:
        raise Refusal(400, "body: not UTF-8") from None
    except RecursionError:
        raise TooDeep from None


def json_answer(content: Any, status: int = 200) -> HTTPResponse:
    """Return an answer in JSON."""
    return JsonAnswer(msgspec.json.encode(content), status=status, content_type=JSON)

"""Answers in JSON, as Sanic sends them."""

from collections.abc import Callable

import pytest
from sanic import HTTPResponse
from sanic.headers import format_http1_response

from api.bodies import ShortAnswer, json_answer


@pytest.mark.parametrize("answer", [lambda: json_answer({}), lambda: ShortAnswer(b"{}", 200)])
@pytest.mark.parametrize("value", ["plain", "é", "a\r\nb: c", "a\0b", "a\tb", "\udcff", ""])
def test_headers_of_an_answer_are_those_that_sanic_would_send(
    value: str, answer: Callable[[], HTTPResponse]
) -> None:
    def sent_by(response: HTTPResponse) -> bytes:
        response.headers["x-told"] = value
        response.headers["content-length"] = 2
        return format_http1_response(200, response.processed_headers)

    sent = sent_by(answer())
    expected = sent_by(HTTPResponse(b"{}", content_type="application/json"))
    assert sent == expected

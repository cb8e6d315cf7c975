"""Answers in JSON, as Sanic sends them."""

import pytest
from sanic import HTTPResponse
from sanic.headers import format_http1_response

from api.bodies import json_answer


@pytest.mark.parametrize("value", ["plain", "é", "a\r\nb: c", "a\0b", "a\tb", "\udcff", ""])
def test_headers_of_an_answer_are_those_that_sanic_would_send(value: str) -> None:
    answer = json_answer({})
    plain = HTTPResponse(b"{}", content_type="application/json")
    for response in (answer, plain):
        response.headers["x-told"] = value
    sent, expected = (
        format_http1_response(200, response.processed_headers) for response in (answer, plain)
    )
    assert sent == expected

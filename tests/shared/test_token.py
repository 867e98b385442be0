"""Where a request carries its API key."""

import pytest
from starlette.datastructures import Headers

from shared.keys import token_of


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer heed_a_b"},
        {"authorization": "bearer  heed_a_b "},
        {"X-API-Key": "heed_a_b"},
        {"Authorization": "Basic dTpw", "X-API-Key": "heed_a_b"},
    ],
)
def test_the_key_is_found_in_either_header(headers: dict[str, str]):
    assert token_of(Headers(headers)) == "heed_a_b"


def test_another_scheme_alone_is_no_key():
    assert token_of(Headers({"Authorization": "Basic heed_a_b"})) == ""

"""Truth values as Go writes them."""

import pytest

from minibuild.graph.boolean import parse_bool


def test_words() -> None:
    assert parse_bool("true") and parse_bool("1") and parse_bool("T")
    assert not parse_bool("false") and not parse_bool("0")


@pytest.mark.parametrize("text", ["", "yes", "tRUE"])
def test_other_words(text: str) -> None:
    with pytest.raises(ValueError, match="invalid syntax"):
        parse_bool(text)

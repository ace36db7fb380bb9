"""What is read as a definition: text, and nothing else."""

import pytest

from minibuild.errors import DefinitionError
from minibuild.frontend.definition import decoded


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"FROM scratch\n", "FROM scratch\n"),
        (b"FROM a\nCOPY <<E /\n\0\nE\n", "FROM a\nCOPY <<E /\n\0\nE\n"),
        (b"FROM \xff\n", "FROM \udcff\n"),
        (b"\x7fELF\0\n", ""),
        ("FROM scratch\n".encode("utf-16"), ""),
    ],
)
def test_decoded(data: bytes, text: str) -> None:
    if text:
        assert decoded(data, "Dockerfile") == text
        return
    with pytest.raises(DefinitionError, match="the Dockerfile is no text") as caught:
        decoded(data, "Dockerfile")
    assert "UTF-8" in caught.value.hint

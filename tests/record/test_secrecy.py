"""No secret is in a record: which values count, and that none of them stays in any member."""

import json
import os
from pathlib import Path

import pytest

from minibuild.graph.op import Exec
from minibuild.graph.vertex import Vertex
from minibuild.record.secrecy import all_can_be_read, hashed, mask_of
from minibuild.session.request import BuildRequest, Secret

RUN = Vertex(Exec(("sh",), (("API_TOKEN", "from-the-graph"), ("MODE", "visible"))))


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("ARG DB_PASSWORD=hunter2-x", "hunter2-x"),
        ('ENV API_KEY="in quotes"', "in quotes"),
        ("ENV API_KEY the older form", "the older form"),
        ("RUN TOKEN=s3cr3t-9 ./fetch", "s3cr3t-9"),
        ("ADD https://user:pa55word@host/x /", "pa55word"),
        ("# nothing", "from-the-graph"),
        ("# nothing", "from --build-arg"),
        ("# nothing", "of-a-mount"),
        ("# nothing", "the second line of a key"),
        ("# nothing", "in-a-file"),
    ],
)
def test_no_secret_stays(text: str, secret: str, tmp_path: Path) -> None:
    file = tmp_path / "secret"
    file.write_text("in-a-file\n")
    request = BuildRequest(
        build_args={"GIT_TOKEN": "from --build-arg", "VERSION": "1.0"},
        secrets=(
            Secret("a", value=b"of-a-mount"),
            Secret("b", value=b"-----BEGIN-----\nthe second line of a key\n"),
            Secret("c", path=str(file)),
            Secret("d", path=str(tmp_path / "missing")),
        ),
    )
    mask = mask_of(request, text, [RUN])
    kept = mask.data(
        {
            "source": {"text": text},
            "build_args": dict(request.build_args),
            "vertices": [{"name": f"RUN echo {secret}", "op": {"env": [["API_TOKEN", secret]]}}],
            "remarks": (f"a {secret}", "b", f"<{secret}>"),
        }
    )
    assert secret not in json.dumps(kept)
    assert kept["build_args"]["VERSION"] == "1.0"
    assert "visible" not in [found for found, _ in mask._found]


def test_what_replaces_a_secret_tells_two_of_them_apart() -> None:
    """So `why` can say that a value changed, and not what it is."""
    one, other = (
        mask_of(BuildRequest(build_args={"API_TOKEN": value}), "", []).text(f"<{value}>")
        for value in ("first-value", "other-value")
    )
    assert one == f"<{hashed('first-value')}>"
    assert one != other


def test_a_pipe_is_not_read_again(tmp_path: Path) -> None:
    """It was read by the step; to open it once more may wait for ever. Then no log is kept."""
    pipe, file = tmp_path / "pipe", tmp_path / "file"
    os.mkfifo(pipe)
    file.write_text("value")
    piped = BuildRequest(secrets=(Secret("a", path=str(pipe)),))
    mask_of(piped, "", [])
    assert not all_can_be_read(piped)
    assert not all_can_be_read(BuildRequest(secrets=(Secret("a", path=str(tmp_path / "none")),)))
    assert all_can_be_read(BuildRequest(secrets=(Secret("a", path=str(file)),)))
    assert all_can_be_read(BuildRequest(secrets=(Secret("a", value=b"x"),)))


def test_the_text_of_a_file_is_a_digest() -> None:
    data = b"TOKEN=value-in-a-heredoc".hex()
    kept = mask_of(BuildRequest(), "", []).data({"data": {"bytes": data}})
    assert kept == {"data": {"bytes": hashed(data)}}


def test_harmless_values_of_secret_names_stay_in_text() -> None:
    """`AUTH=true` must not take every `true` out of a record; its own member is hashed."""
    mask = mask_of(BuildRequest(build_args={"AUTH": "true"}), "", [])
    assert mask.text("it is true") == "it is true"
    assert mask.data({"AUTH": "true"}) == {"AUTH": hashed("true")}


def test_members_that_minibuild_made_stay() -> None:
    mask = mask_of(BuildRequest(build_args={"PASSWORD": "cached"}), "", [])
    assert mask.data({"state": "cached", "name": "cached"}) == {
        "state": "cached",
        "name": hashed("cached"),
    }

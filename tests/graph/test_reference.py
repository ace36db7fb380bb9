"""Names of images, as Docker reads them."""

import pytest

from minibuild.errors import DefinitionError
from minibuild.graph.reference import familiar_name, parse_reference

D = "sha256:" + "a1" * 32


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
        ("team/app", "docker.io/team/app:latest", "team/app:latest"),
        ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox:latest"),
        ("index.docker.io/team/app:1", "docker.io/team/app:1", "team/app:1"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/a/b:c", "localhost:5000/a/b:c", "localhost:5000/a/b:c"),
        ("gcr.io/p/i", "gcr.io/p/i:latest", "gcr.io/p/i:latest"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        (f"app@{D}", f"docker.io/library/app@{D}", f"app@{D}"),
        (f"r.io/app:1@{D}", f"r.io/app:1@{D}", f"r.io/app:1@{D}"),
        ("a__b/c.d/e--f", "docker.io/a__b/c.d/e--f:latest", "a__b/c.d/e--f:latest"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("docker.io/library/a.b/c", "docker.io/library/a.b/c:latest", "library/a.b/c:latest"),
    ],
)
def test_names(text: str, full: str, familiar: str) -> None:
    """The full name, and what people see; both lead back to it."""
    reference = parse_reference(text)
    assert (str(reference), reference.familiar) == (full, familiar)
    assert parse_reference(full) == parse_reference(familiar) == reference


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "/", "a/", "/a", "a//b", "a b", "a:", "a:b:c", "-a", "a-",
        "a..b", "a/../b", "a@", "a@sha256:12", f"a@{D}x", f"a@md5:{'0' * 32}", "a:" + "t" * 129,
        "a" * 260, "host:port/a", "ho_st.x/a", "a:.b", "é", "a\n", "docker.io/", "x:1/",
    ],
)  # fmt: skip
def test_no_names(text: str) -> None:
    """Refused, with what was written in the message."""
    with pytest.raises(DefinitionError, match="invalid reference format") as caught:
        parse_reference(text)
    assert repr(text) in caught.value.message
    assert familiar_name(text) == text


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("Inv@lid", "not a sha256 digest: 'lid'", "a tag stands behind a colon"),
        ("MyApp", r"repository name \(library/MyApp\) must be lowercase", "write myapp"),
        ("r.io/Team/App:V1", r"repository name \(Team/App\) must be", "write r.io/team/app:V1"),
        ("My App", r"repository name \(library/My App\) must be", "a name has small letters"),
        ("0a" * 32, "cannot specify 64-byte hexadecimal strings", "NAME@sha256:DIGEST"),
    ],
)
def test_words_of_docker(text: str, message: str, hint: str) -> None:
    """The commonest mistakes are told as Docker tells them."""
    with pytest.raises(DefinitionError, match=message) as caught:
        parse_reference(text)
    assert hint in caught.value.hint


@pytest.mark.parametrize(
    ("text", "short"),
    [
        ("index.docker.io/library/busybox:latest", "busybox"),
        ("a/b:1", "a/b:1"),
        (f"docker.io/a:1@{D}", f"a:1@{D}"),
        ("No Name", "No Name"),
    ],
)
def test_familiar_names(text: str, short: str) -> None:
    """By these, names of contexts and of images are compared."""
    assert familiar_name(text) == short

"""Policies of sources: which rule decides, and what a source becomes."""

import pytest

from minibuild.digest import Digest
from minibuild.errors import DefinitionError
from minibuild.graph.identifier import Identified, identified, normalised, source_named
from minibuild.graph.op import GitSource, HttpSource, ImageSource, LocalSource, Source
from minibuild.graph.platform import Platform
from minibuild.graph.source_policy import Constraint, Policy, PolicyRule, decided, folders_of

AMD64 = Platform("linux", "amd64")
HUB = "docker-image://docker.io/library"
ALPINE = f"{HUB}/alpine:3.20"
ALL = PolicyRule("DENY", "*")


def allow(identifier: str, *constraints: Constraint) -> PolicyRule:
    return PolicyRule("ALLOW", identifier, constraints=constraints)


def convert(identifier: str, to: str, kind: str = "WILDCARD", **attributes: str) -> PolicyRule:
    updates = Identified(to, {key.replace("_", "."): value for key, value in attributes.items()})
    return PolicyRule("CONVERT", identifier, kind, (), updates)  # type: ignore[arg-type]


def passes(source: str, *rules: PolicyRule, **attributes: str) -> bool:
    given = Identified(source, {key.replace("_", "."): v for key, v in attributes.items()})
    try:
        return decided([Policy(rules)], given) == given
    except DefinitionError as error:
        assert error.message == f"source denied by policy: {source}"
        return False


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ((), True),
        ((ALL,), False),
        ((ALL, allow(ALPINE)), True),
        ((allow(ALPINE), ALL), False),  # the last one counts
        ((PolicyRule("DENY", f"{HUB}/alpine"),), True),  # a wildcard fits the whole name
        ((PolicyRule("DENY", f"{HUB}/*:3.*"),), False),
        ((PolicyRule("DENY", f"{HUB}/alpine:3.20", "EXACT"),), False),
        ((PolicyRule("DENY", f"{HUB}/*", "EXACT"),), True),
        ((PolicyRule("DENY", "library/alp", "REGEX"),), False),  # anywhere in the name
        ((PolicyRule("DENY", "^library", "REGEX"),), True),
        ((PolicyRule("DENY", "docker-image://docker.io/library/alpineX3.20", "REGEX"),), True),
    ],
)  # fmt: skip
def test_which_rule_decides(rules: tuple[PolicyRule, ...], expected: bool) -> None:
    assert passes(ALPINE, *rules) is expected


def test_each_policy_has_to_let_it_pass() -> None:
    with pytest.raises(DefinitionError, match="denied") as caught:
        decided([Policy((allow("*"),)), Policy((ALL._replace(place="rule 1 of p"),))],
                Identified(ALPINE))  # fmt: skip
    assert caught.value.hint == "refused by rule 1 of p: DENY *"


@pytest.mark.parametrize(
    ("constraint", "expected"),
    [
        (Constraint("http.checksum", "sha256:1"), True),
        (Constraint("http.checksum", "sha256:2"), False),
        (Constraint("http.checksum", "sha256:2", "NOTEQUAL"), True),
        (Constraint("http.perm", ""), True),  # what is missing is empty
        (Constraint("http.checksum", "^sha[0-9]+:", "MATCHES"), True),
        (Constraint("http.perm", ".", "MATCHES"), False),
    ],
)
def test_constraints(constraint: Constraint, expected: bool) -> None:
    rules = (ALL, allow("https://*", constraint))
    assert passes("https://a.example/f", *rules, http_checksum="sha256:1") is expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (convert(ALPINE, f"{HUB}/busybox:1"), f"{HUB}/busybox:1"),
        (convert(f"{HUB}/*:*", "docker-image://mirror.example/$1:${2}"),
         "docker-image://mirror.example/alpine:3.20"),
        (convert(f"{HUB}/*", "docker-image://m.example/$1x"), "docker-image://m.example/"),
        (convert("docker.io/(?P<rest>[^:]+)", "m.example/${rest}", "REGEX"),
         "docker-image://m.example/library/alpine:3.20"),
        (convert(f"{HUB}/*", "docker-image://m.example/$9$$"), "docker-image://m.example/$"),
        (convert(ALPINE, "$1", "EXACT"), "$1"),
    ],
)  # fmt: skip
def test_conversions(rule: PolicyRule, expected: str) -> None:
    """Groups as Go fills them in: `$1x` is a name of its own."""
    assert decided([Policy((rule,))], Identified(ALPINE)).identifier == expected


def test_a_conversion_begins_again() -> None:
    """With the rules before it, too; and an attribute is a change, once."""
    rules = (
        PolicyRule("DENY", f"{HUB}/old:*"),
        convert(f"{HUB}/alpine:*", f"{HUB}/old:1"),
    )
    with pytest.raises(DefinitionError, match=r"denied by policy: .*/old:1"):
        decided([Policy(rules)], Identified(ALPINE))
    pinned = (convert("https://a.example/*", "", http_checksum="sha256:1"),)
    made = decided([Policy(pinned)], Identified("https://a.example/f", {"http.perm": "0600"}))
    assert made.attributes == {"http.perm": "0600", "http.checksum": "sha256:1"}
    with pytest.raises(DefinitionError, match="again and again"):
        decided([Policy((convert("*", "${1}x"),))], Identified("https://a.example/f"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (PolicyRule("DENY", "a**"), r"invalid wildcard \*\*"),
        (PolicyRule("DENY", "(", "REGEX"), "invalid regular expression in DENY"),
        (allow("*", Constraint("a", "[", "MATCHES")), "invalid regular expression in ALLOW"),
        (PolicyRule("CONVERT", "*"), "missing destination"),
    ],
)
def test_rules_that_mean_nothing(rule: PolicyRule, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        decided([Policy((rule,))], Identified(ALPINE))


def test_folders() -> None:
    """Those that may take the place of something."""
    rules = (convert("a", "local://b"), convert("c", "https://local://d"), ALL)
    assert folders_of([Policy(rules)]) == ["b"]


SOURCES: list[tuple[Source, str]] = [
    (LocalSource("context:lib"), "local://lib"),
    (HttpSource("https://a.example/f", "g", "sha256:1", 0o755, (("Accept", "x"),), "TOKEN"),
     "https://a.example/f"),
    (GitSource("https://me@g.example/r.git", "v1", "d", "c0ffee", True, False),
     "git://g.example/r.git#v1:d"),
    (GitSource("git@g.example:r.git"), "git://g.example/r.git"),
]  # fmt: skip


@pytest.mark.parametrize(("source", "identifier"), SOURCES)
def test_there_and_back(source: Source, identifier: str) -> None:
    named = identified(source)
    assert named.identifier == identifier
    back = source_named(named, AMD64)
    assert back == (LocalSource("lib") if isinstance(source, LocalSource) else source)


def test_images() -> None:
    """A name is in full; what has no digest is named as it is."""
    digest = Digest("sha256:" + "a" * 64)
    source = ImageSource("docker.io/library/a:1", digest, AMD64)
    assert identified(source).identifier == f"{HUB}/a:1@{digest}"
    back = source_named(Identified(f"{HUB}/a:1"), AMD64)
    assert back == ImageSource("docker.io/library/a:1", Digest(""), AMD64)
    assert normalised("docker-image://a") == f"{HUB}/a:latest"
    assert normalised("git://g.example/r#main:../x/./y") == "git://g.example/r#main:x/y"
    with pytest.raises(DefinitionError, match="the kind 'ftp' are not possible"):
        source_named(Identified("ftp://a.example/f"), AMD64)

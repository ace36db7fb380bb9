"""The build checks: what each rule finds, what spares it, and what makes it an error."""

import re

import pytest
from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.rules import Rule
from minibuild_dockerfile.checks.teaching import TEACHING_RULES
from minibuild_dockerfile.convert import check, convert

from minibuild.graph.frontend import Finding, ImageContext, LocalContext
from minibuild.graph.platform import Platform
from minibuild.graph.vertex import IgnoreRules
from tests.conftest import CHECKOUT
from tests.minibuild_dockerfile.checked import AMD64, findings, messages, request_for
from tests.support.resolver import FakeResolver

BUILDKIT_RULES = [rule for rule in vars(rules).values() if isinstance(rule, Rule)]


def test_there_are_all_rules_of_buildkit() -> None:
    assert len({rule.name for rule in BUILDKIT_RULES}) == 22
    without = [rule.name for rule in BUILDKIT_RULES if not rule.url]
    assert without == ["InvalidBaseImagePlatform"]
    assert all(
        rule.url.startswith("https://docs.docker.com/") for rule in BUILDKIT_RULES if rule.url
    )


def test_the_page_has_all_rules() -> None:
    page = (CHECKOUT / "docs/checks.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page, re.M)
    assert named == [rule.name for rule in (*BUILDKIT_RULES, *TEACHING_RULES)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("FROM busybox AS Base\n", [("StageNameCasing", 1)]),
        ("FROM busybox as base\n", [("FromAsCasing", 1)]),
        ("from busybox as base\n", []),
        ("FROM busybox As base\n", [("FromAsCasing", 1)]),
        ("from busybox AS a\nrun b\n", [("FromAsCasing", 1)]),
        ("From busybox as a\nRUN b\nRUN c\n", [("ConsistentInstructionCasing", 1)]),
        ("FROM busybox\nRUN a \\\n\n\n b\n", [("NoEmptyContinuation", 5)]),
        ("FROM busybox\nRUN a <<E \\\n\n b\nE\n", [("NoEmptyContinuation", 4)]),
        ("FROM busybox\nRUN a \\\n\n", [("NoEmptyContinuation", 3)]),
        ("FROM busybox\nrun a\nRUN b\n", [("ConsistentInstructionCasing", 2)]),
        ("from busybox\nRun a\nrun b\n", [("ConsistentInstructionCasing", 2)]),
        ("FROM busybox AS a\nFROM busybox AS a\n", [("DuplicateStageName", 2)]),
        ("FROM busybox AS scratch\n", [("ReservedStageName", 1)]),
        ("FROM busybox AS context\n", [("ReservedStageName", 1)]),
        ("FROM busybox\nCMD a\n", [("JSONArgsRecommended", 2)]),
        ("FROM busybox\nENTRYPOINT a\n", [("JSONArgsRecommended", 2)]),
        ("FROM busybox\nCMD\n", [("JSONArgsRecommended", 2)]),
        ('FROM busybox\nSHELL ["a"]\nCMD a\n', []),
        ('FROM busybox\nCMD ["a"]\n', []),
        ("FROM busybox\nMAINTAINER a\n", [("MaintainerDeprecated", 2)]),
        ("FROM busy${X}box\n", [("UndefinedArgInFrom", 1)]),
        ("ARG X\nFROM busy${X}box\n", []),
        ("FROM ${X:-busybox}\n", [("UndefinedArgInFrom", 1)]),
        ("ARG X\nFROM ${X:-busybox}\n", []),
        ("ARG X\nFROM --platform=${X:-linux/amd64} busybox\n", []),
        ("FROM busybox\nWORKDIR a\nWORKDIR b\n", [("WorkdirRelativePath", 2)]),
        ("FROM busybox\nWORKDIR /a\nWORKDIR b\n", []),
        ("FROM busybox AS a\nWORKDIR /a\nFROM a\nWORKDIR b\n", []),
        ("FROM busybox\nLABEL a=$X\n", [("UndefinedVar", 2)]),
        ("FROM busybox\nARG X\nLABEL a=$X b=$PATH c=${X:-}\n", []),
        (
            "FROM busybox\nLABEL a=${X:-d}\nLABEL b=${X+d}\n",
            [("UndefinedVar", 2), ("UndefinedVar", 3)],
        ),
        ("FROM busybox\nCOPY <<E /e\n$X\nE\n", [("UndefinedVar", 2)]),
        ("FROM busybox\nENV a=${X:y}\n", [("UndefinedVar", 2)]),
        ("FROM busybox:${X:y}\n", [("UndefinedArgInFrom", 1)]),
        ("FROM busybox\nEXPOSE $X 80\n", []),
        ("FROM busybox\nRUN echo $X\n", []),
        (
            'FROM busybox\nCMD ["a"]\nCMD ["b"]\nCMD ["c"]\n',
            [("MultipleInstructionsDisallowed", 2), ("MultipleInstructionsDisallowed", 3)],
        ),
        ('FROM busybox AS a\nCMD ["a"]\nFROM a\nCMD ["b"]\n', []),
        ("FROM busybox\nENV a b\n", [("LegacyKeyValueFormat", 2)]),
        ("FROM busybox\nLABEL a b\n", [("LegacyKeyValueFormat", 2)]),
        ("FROM --platform=$TARGETPLATFORM busybox\n", [("RedundantTargetPlatform", 1)]),
        ("FROM --platform=$BUILDPLATFORM busybox\n", []),
        ("FROM busybox\nARG API_TOKEN\n", [("SecretsUsedInArgOrEnv", 2)]),
        ("FROM busybox\nENV DB_PASSWORD=x\n", [("SecretsUsedInArgOrEnv", 2)]),
        ("FROM busybox\nENV TOKEN_FILE=x PUBLIC_KEY=y MONKEY=z KEY_VERSION=1\n", []),
        ("ARG TAG\nFROM busybox:$TAG\n", [("InvalidDefaultArgInFrom", 2)]),
        ("ARG TAG=latest\nFROM busybox:$TAG\n", []),
        ("FROM --platform=linux/amd64 busybox\n", [("FromPlatformFlagConstDisallowed", 1)]),
        ("FROM --platform=linux/amd64 busybox AS build_amd64\n", []),
        ("FROM busybox\nCOPY a.log /\n", [("CopyIgnoredFile", 2)]),
        ("FROM busybox\nADD ./a.log /\n", [("CopyIgnoredFile", 2)]),
        ("FROM busybox\nCOPY --from=busybox a.log /\n", []),
        ("FROM busybox\nEXPOSE 80/TCP\n", [("ExposeProtoCasing", 2)]),
        ("FROM busybox\nEXPOSE 127.0.0.1:80:80\n", [("ExposeInvalidFormat", 2)]),
        ("# about a\nFROM busybox AS a\n", []),
    ],
)
def test_rules(text: str, expected: list[tuple[str, int]]) -> None:
    fields = {
        "build_args": {"TAG": "latest"},
        "context": LocalContext("context", IgnoreRules(("*.log",))),
    }
    assert findings(text, **fields) == expected


def test_descriptions_are_checked_only_on_request() -> None:
    text = "# something else\nFROM busybox AS a\n\n# b is for it\nARG b\n# nothing\nARG c\n"
    assert findings(text) == []
    wanted = "# check=experimental=InvalidDefinitionDescription\n\n" + text
    assert findings(wanted) == [
        ("InvalidDefinitionDescription", 4),
        ("InvalidDefinitionDescription", 9),
    ]


def test_base_image_for_another_platform() -> None:
    resolver = FakeResolver({"arm": {"architecture": "arm64"}})
    (found,) = check(request_for("FROM arm\n"), resolver).findings
    assert found.rule == "InvalidBaseImagePlatform"
    assert found.message == (
        'Base image arm was pulled with platform "linux/arm64", expected "linux/amd64" '
        "for current build"
    )
    chosen = request_for("FROM x\n", contexts={"x": ImageContext("docker-image://arm")})
    assert check(chosen, resolver).findings == (), "a named context may be for any platform"


def test_messages_name_instructions_as_they_are_written() -> None:
    text = "from busybox\nenv a b\nentrypoint x\nentrypoint x\n"
    assert [message.partition(" instructions")[0][:40] for message in messages(text)] == [
        '"env key=value" should be used instead o',
        "JSON arguments recommended for entrypoin",
        "Multiple entrypoint",
        "JSON arguments recommended for entrypoin",
    ]


def test_messages_quote_as_go_does() -> None:
    assert messages("FROM busybox\nWORKDIR 'C:\\go'\n") == [
        r'Relative workdir "C:\\go" can have unexpected results if the base image changes'
    ]


def test_messages_suggest() -> None:
    assert messages("FROM busybox\nENV USERNAME=a\nLABEL l=$USERNAM\n") == [
        "Usage of undefined variable '$USERNAM' (did you mean $USERNAME?)"
    ]
    assert messages("ARG IMAGE=x\nFROM busybox$IMAG\n") == [
        "FROM argument 'IMAG' is not declared (did you mean IMAGE?)"
    ]


def test_what_is_looked_at_in_a_stage_that_is_not_built() -> None:
    """Rules about names and words of the whole file, and no others; --check looks at all stages."""
    unused = "FROM busybox AS A\nENV a b\nCMD x\nCMD y\nENV TOKEN=x\nWORKDIR z\nMAINTAINER m\n"
    text = unused + "FROM busybox AS b\n"
    made: list[Finding] = []
    convert(request_for(text), FakeResolver(), made.append)
    assert {found.rule for found in made} == {"StageNameCasing", "MaintainerDeprecated"}
    assert len(findings(text)) == 8
    assert len(findings(text, target="b")) == 2


def test_a_shell_spares_only_what_comes_after_it() -> None:
    text = 'FROM busybox AS a\nCMD a\nSHELL ["x"]\nENTRYPOINT b\nFROM a\nCMD c\n'
    assert findings(text) == [("JSONArgsRecommended", 2)]


def test_arguments_above_the_first_from_have_no_case_and_no_secrets() -> None:
    assert findings("arg API_KEY=1\narg B=2\nFROM busybox\n") == []


def test_platforms_by_what_they_expand_to() -> None:
    def found(platform: str, name: str = "x") -> list[str]:
        text = f"ARG P=linux/amd64\nFROM --platform={platform} busybox AS {name}\n"
        return [rule for rule, _ in findings(text)]

    assert found("${TARGETPLATFORM:-x}") == ["RedundantTargetPlatform"]
    assert found("$P") == []
    assert found("x86_64") == ["FromPlatformFlagConstDisallowed"]
    assert found("x86_64", "for-amd64") == found("amd64", "on-linux") == []


def test_sources_that_an_ignore_file_leaves_out() -> None:
    def found(ignore: str, source: str) -> list[str]:
        context = LocalContext("context", IgnoreRules(tuple(ignore.split())))
        text = f"FROM busybox\nCOPY {source} /x/\nFROM busybox AS t\n"
        return [rule for rule, _ in findings(text, context=context)]

    assert found("docs", "docs/a") == ["CopyIgnoredFile"]
    assert found("docs", ".") == found("a*", "/") == []
    assert found("*", ".") == found("**", "./") == ["CopyIgnoredFile"]


@pytest.mark.parametrize(
    ("ignore", "source", "left_out"),
    [
        ("docs !docs/b", "docs/a", True),
        ("docs !docs/b", "docs/b", False),
        ("docs !docs/b", "docs", False),
        ("docs/b !nothing", "docs/b", True),
        ("!docs/a docs/a", "docs/a", True),
        ("** !docs/a", "docs/b", True),
        ("** !docs/a", "docs/a", False),
        ("** !docs/a", "docs/a/../b", True),
        ("* !docs", "docs/sub", False),
        ("* !docs/sub", "docs", False),
        ("* !docs/sub", "other", True),
        ("* !**/keep", "docs", False),
        ("docs/*", "docs/*", True),
        ("docs/* !docs/a", "docs/*", False),
        ("docs !other", "docs/*", True),
        ("* !docs", "*", False),
        (".*", ".", False),
        ("*", ".", True),
        ("* !docs", ".", False),
        ("* !docs", "/", False),
    ],
)
def test_ignored_sources(ignore: str, source: str, left_out: bool) -> None:
    """What is brought back is there, and a ! line about other files changes nothing."""
    context = LocalContext("context", IgnoreRules(tuple(ignore.split())))
    expected = [("CopyIgnoredFile", 2)] if left_out else []
    assert findings(f"FROM busybox\nCOPY {source} /x/\n", context=context) == expected


def test_descriptions() -> None:
    head = "# check=experimental=InvalidDefinitionDescription\n\n"

    def found(text: str) -> list[str]:
        return messages(head + text + "\nFROM scratch\n")

    form = "Comment for {} should follow the format: `# {} <description>`"
    assert found("# foo is it\nARG foo=bar") == []
    assert found("# bar is it\nARG foo=bar") == [form.format("ARG", "foo")]
    assert found("# other\n# foo is it\nARG foo") == []
    assert found("# foo is it\n# other\nARG foo") == [form.format("ARG", "foo")]
    assert found("# no\nARG foo bar") == [form.format("ARG", "<arg_key>")]
    assert found("# BasE is it\nFROM scratch AS base") == [form.format("FROM", "base")]
    assert found("# anything\nFROM scratch") == found("# no\n#\nARG foo") == []


def test_every_finding_has_its_page() -> None:
    """Also those that the parser makes, which knows no rules."""
    text = "FROM busybox as A\nRUN a \\\n\n b\nMAINTAINER x\nENV A 1\nCMD a\n"
    found = check(request_for(text), FakeResolver()).findings
    assert "NoEmptyContinuation" in [finding.rule for finding in found]
    pages = {rule.name: (rule.url, rule.description) for rule in BUILDKIT_RULES}
    assert all((f.url, f.description) == pages[f.rule] for f in found)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("ARG IMAGE=busybox\nFROM $IMAGES\n", "base name ($IMAGES) should not be blank"),
        ("ARG IMAGE\nFROM --platform=$IMAGES busybox\n", "from expression $IMAGES"),
        ("ARG IMAGE=x\nFROM --platform=linux/$IMAGES busybox\n", "failed to parse platform linux/"),
    ],
)
def test_errors_of_from_suggest(text: str, message: str) -> None:
    error = check(request_for(text), FakeResolver()).error
    assert error and message in error.message
    assert error.message.endswith("(did you mean IMAGE?)")


def test_what_is_declared_is_no_misspelling_of_itself() -> None:
    error = check(request_for("ARG IMAGE\nARG IMAGES\nFROM $IMAGE\n"), FakeResolver()).error
    assert error and error.message == "base name ($IMAGE) should not be blank"


def test_each_finding_is_told_once_for_all_platforms() -> None:
    platforms = (AMD64, Platform("linux", "arm64"))
    assert findings("FROM busybox\nWORKDIR a\n", platforms=platforms) == [
        ("WorkdirRelativePath", 2)
    ]


def test_a_finding_explains_itself() -> None:
    (found,) = check(request_for("FROM busybox\nMAINTAINER x\n"), FakeResolver()).findings
    assert isinstance(found, Finding)
    assert found.description
    assert found.url == "https://docs.docker.com/go/dockerfile/rule/maintainer-deprecated/"


@pytest.mark.parametrize(
    ("lines", "rule", "line"),
    [
        ("RUN <<E\na\nb\nE", "HeredocWithoutErrexit", 3),
        ("RUN <<E\nset -eu\na\nE", "", 0),
        ("RUN <<E\nset -o errexit\na\nE", "", 0),
        ("RUN <<E\n#!/bin/sh\na\nE", "", 0),
        ('SHELL ["/bin/sh", "-ec"]\nRUN <<E\na\nb\nE', "", 0),
        ("RUN apt-get update", "UpdateWithoutInstall", 3),
        ("RUN apt-get update && apt-get install -y x", "", 0),
        ("COPY . .\nRUN pip install -r requirements.txt", "CopyAllBeforeInstall", 4),
        ("COPY requirements.txt .\nRUN pip install -r requirements.txt", "", 0),
        ("RUN rm -rf /var/lib/apt/lists/*", "RemoveInLaterLayer", 3),
        ("RUN make && rm -rf /src", "", 0),
        ("COPY --link --chmod=755 a /", "LinkWithChmod", 3),
        ("COPY --link a /lib/a", "LinkIntoSymlink", 3),
        ("COPY --link a /library/a", "", 0),
        ("COPY a /lib/a", "", 0),
        ("ARG V=1\nRUN a\nRUN b\nRUN echo ${V}", "ArgBeforeUse", 3),
        ("ARG V=1\nRUN echo $V\nRUN b", "", 0),
        ("ARG V=1\nRUN <<E cat\n$V\nE", "", 0),
        ("ARG V=1\nCOPY a /b\nLABEL v=$V", "", 0),
        ("ARG V=1\nRUN echo $VV", "ArgBeforeUse", 3),
        ("ARG TARGETARCH\nRUN a", "", 0),
        ("USER app\nRUN --mount=type=cache,target=/c x", "CacheMountOwner", 4),
        ("USER app\nRUN --mount=type=cache,target=/c,uid=5 x", "", 0),
        ("COPY deploy/id_ed25519 /", "SecretFileCopied", 3),
    ],
)
def test_habits_are_told_on_request(lines: str, rule: str, line: int) -> None:
    text = f"FROM busybox:1.36\n{lines}\n"
    assert findings(text) == []
    asked = f"# check=experimental=all\n{text}"
    assert findings(asked) == ([(rule, line)] if rule else [])


@pytest.mark.parametrize(
    ("image", "pinned"),
    [
        ("busybox", False),
        ("host:5000/busybox", False),
        ("busybox:latest", False),
        ("busybox:1", True),
        ("scratch", True),
    ],
)
def test_bases_should_be_pinned(image: str, pinned: bool) -> None:
    text = f"# check=experimental=UnpinnedBase\nFROM {image} AS a\nFROM a\n"
    assert findings(text, target="") == ([] if pinned else [("UnpinnedBase", 2)])


def test_an_instruction_is_checked_before_the_case_of_all() -> None:
    text = "FROM busybox\nmaintainer me\nRUN true\n"
    assert findings(text) == [("MaintainerDeprecated", 2), ("ConsistentInstructionCasing", 2)]


def test_a_variable_with_three_other_letters_is_no_slip() -> None:
    text = "FROM busybox\nENV YARN_HOME=/yarn\nENV PATH=$JAVA_HOME/bin:$YARN_HOMES\n"
    assert messages(text) == [
        "Usage of undefined variable '$JAVA_HOME'",
        "Usage of undefined variable '$YARN_HOMES' (did you mean $YARN_HOME?)",
    ]

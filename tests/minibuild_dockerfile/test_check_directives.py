"""Which build checks a definition asks for: directives and comments that spare findings, ask for
more, or make errors of them; and what is still found in one that cannot be read.
"""

import pytest
from minibuild_dockerfile.convert import check, convert
from minibuild_dockerfile.subrequests import outline, targets

from minibuild.errors import BuildError, DefinitionError
from minibuild.graph.frontend import Finding
from tests.minibuild_dockerfile.checked import findings, request_for
from tests.support.resolver import FakeResolver


@pytest.mark.parametrize(
    "directive",
    ["skip=all", "skip=JSONArgsRecommended,MaintainerDeprecated", "skip=all;error=true"],
)
def test_rules_can_be_skipped(directive: str) -> None:
    text = "FROM busybox\nMAINTAINER x\nCMD a\n"
    assert findings(f"# check={directive}\n{text}") == []
    assert findings(text, build_args={"BUILDKIT_DOCKERFILE_CHECK": directive}) == []


def test_names_of_rules_are_written_as_they_are() -> None:
    text = "# check=skip=jsonargsrecommended,All\nFROM busybox\nCMD a\n"
    assert findings(text) == [("JSONArgsRecommended", 3)]


def test_the_build_argument_wins_over_the_directive() -> None:
    text = "# check=skip=all\nFROM busybox\nCMD a\n"
    for given in ("error=false", ""):
        arguments = {"BUILDKIT_DOCKERFILE_CHECK": given}
        assert findings(text, build_args=arguments) == [("JSONArgsRecommended", 3)]


def test_who_asks_for_an_experimental_rule_gets_it() -> None:
    text = "# check=skip=all;experimental=UnpinnedBase\nFROM busybox\nCMD a\n"
    assert findings(text) == [("UnpinnedBase", 2)]


@pytest.mark.parametrize(
    ("text", "expected", "message"),
    [
        ("MAINTAINER x\nFROM busybox\n", [("MaintainerDeprecated", 1)], "no build stage"),
        ("FROM busybox as a\nMAINTAINER x\nRNU x\nMAINTAINER y\n", [
            ("FromAsCasing", 1), ("MaintainerDeprecated", 2),
        ], "unknown instruction"),
        ("FROM Upper\n", [("InvalidDefaultArgInFrom", 1)], "lowercase"),
        ("FROM $NO\nFROM $NE\n", [
            ("InvalidDefaultArgInFrom", 1), ("UndefinedArgInFrom", 1),
            ("InvalidDefaultArgInFrom", 2),
        ], "blank"),
        ("FROM ${NO:?x}\n", [("UndefinedArgInFrom", 1)], "NO: x"),
        ("FROM busybox\nARG A=${B:?x}\nCMD a\n", [("UndefinedVar", 2)], "B: x"),
        ("FROM busybox\nCOPY ${B?x}$C a\n", [("UndefinedVar", 2)], "B: x"),
        ("FROM busybox\nENV A 1\nSTOPSIGNAL nope\nENV API_KEY 1\nCMD a\n", [
            ("LegacyKeyValueFormat", 2),
        ], "invalid signal"),
        ("FROM busybox\nCMD []\nCMD []\nVOLUME $NO\nCMD []\n", [
            ("MultipleInstructionsDisallowed", 2), ("UndefinedVar", 4),
        ], "empty string"),
        ("# check=error=true\nFROM busybox\nMAINTAINER x\nUSER\n", [
            ("MaintainerDeprecated", 3),
        ], "USER requires"),
        ("FROM busybox AS a\nMAINTAINER x\nCOPY --from=b a /b\nFROM a AS b\n", [
            ("MaintainerDeprecated", 2),
        ], "needs to be defined"),
    ],
)  # fmt: skip
def test_what_was_found_before_the_first_mistake(
    text: str, expected: list[tuple[str, int]], message: str
) -> None:
    """In a check and in a build alike."""
    checked = check(request_for(text), FakeResolver())
    assert checked.error is not None and message in checked.error.message
    assert [(f.rule, f.span.first if f.span else 0) for f in checked.findings] == expected
    told: list[Finding] = []
    with pytest.raises(BuildError):
        convert(request_for(text), FakeResolver(), told.append)
    assert set(told) == set(checked.findings)


@pytest.mark.parametrize(
    "comment",
    [
        "# check=skip=JSONArgsRecommended",
        "#check = skip=JSONArgsRecommended // it is a shell that starts it",
        "# check=skip=JSONArgsRecommended because of the $",
        "# why\n# check=skip=StageNameCasing,JSONArgsRecommended;error=true // both",
        "# check=skip=all",
        "# check=skip=all\n\n",
    ],
)
def test_a_comment_is_about_one_instruction(comment: str) -> None:
    text = f"FROM busybox\n{comment}\nCMD a\nENTRYPOINT b\n"
    assert [rule for rule, _ in findings(text)] == ["JSONArgsRecommended"]


@pytest.mark.parametrize(
    "comment",
    [
        "# check=everything is fine",
        "# check=skip",
        "# check=skip=JSONArgsRecommended;;",
        "# check=skip=JSONArgsRecommended;perhaps=1",
        "# check=skip=StageNameCasing // JSONArgsRecommended",
        "# check=skip=StageNameCasing\n# check=skip=JSONArgsRecommended",
        "# check=",
        "# recheck=skip=JSONArgsRecommended",
        "# check=skip=JSONArgsRecommended\n#",
    ],
)
def test_a_comment_that_says_nothing_else_spares_nothing(comment: str) -> None:
    """It is a comment, and so no error, whatever it says."""
    text = f"FROM busybox\n{comment}\nCMD a\n"
    assert [rule for rule, _ in findings(text)] == ["JSONArgsRecommended"]


def test_a_comment_can_ask_for_more() -> None:
    text = "FROM busybox\n# nothing\n# check=experimental=InvalidDefinitionDescription\nARG a\n"
    assert findings(text) == [("InvalidDefinitionDescription", 4)]


@pytest.mark.parametrize(
    ("directive", "rules"),
    [
        ("skip=JSONArgsRecommended // reason", ["MaintainerDeprecated"]),
        ("skip=JSONArgsRecommended,MaintainerDeprecated // reason", []),
        ("skip=JSONArgsRecommended, MaintainerDeprecated", ["MaintainerDeprecated"]),
        ("error=false;skip=all why not", []),
    ],
)
def test_a_directive_may_have_a_reason(directive: str, rules: list[str]) -> None:
    text = f"# check={directive}\nFROM busybox\nMAINTAINER a\nCMD a\n"
    assert [rule for rule, _ in findings(text)] == rules


@pytest.mark.parametrize("directive", ["skip=all;", ";", "skip=all;error=perhaps", "a=b", "x // y"])
def test_a_directive_that_says_nothing_is_an_error(directive: str) -> None:
    with pytest.raises(DefinitionError, match="check option"):
        convert(request_for(f"# check={directive}\nFROM busybox\n"), FakeResolver())


def test_one_instruction_can_be_spared() -> None:
    text = "FROM busybox\n# check=skip=JSONArgsRecommended\nCMD a\nENTRYPOINT b\n"
    assert findings(text) == [("JSONArgsRecommended", 4)]


@pytest.mark.parametrize(
    ("above", "between", "expected"),
    [
        ("", "# check=skip=all\n", []),
        ("# check=skip=all\n", "", ["MultipleInstructionsDisallowed"]),
    ],
)
def test_a_second_cmd_is_spared_above_it(above: str, between: str, expected: list[str]) -> None:
    text = f'FROM busybox\n{above}CMD ["a"]\n{between}CMD ["b"]\n'
    assert [rule for rule, _ in findings(text)] == expected


def test_findings_can_be_errors() -> None:
    text = "# check=error=true\nFROM busybox as base\nMAINTAINER x\n"
    made: list[Finding] = []
    with pytest.raises(DefinitionError) as caught:
        convert(request_for(text), FakeResolver(), made.append)
    assert [found.rule for found in made] == ["FromAsCasing", "MaintainerDeprecated"]
    assert caught.value.message == (
        "lint violation found for rules: FromAsCasing, MaintainerDeprecated"
    )
    assert "Dockerfile:3: MaintainerDeprecated" in caught.value.detail
    assert len(check(request_for(text), FakeResolver()).findings) == 2
    with pytest.raises(DefinitionError, match="lint violation found"):
        outline(request_for(text), FakeResolver())
    assert len(targets(request_for(text))["targets"]) == 1


def test_what_is_above_an_unreadable_instruction_is_checked() -> None:
    text = (
        "# check=skip=FromAsCasing\nFROM busybox as A\nMAINTAINER a \\\n\n b\nRUM x\nMAINTAINER c\n"
    )
    found = check(request_for(text), FakeResolver())
    assert [(f.rule, f.span and f.span.first) for f in found.findings] == [
        ("StageNameCasing", 2),
        ("MaintainerDeprecated", 3),
        ("NoEmptyContinuation", 5),
    ]
    assert found.error and "unknown instruction: RUM" in found.error.message

"""Policies of sources as they are written."""

import json
from pathlib import Path
from typing import Any

import pytest

from minibuild.buildflags.request import build_request
from minibuild.buildflags.source_policy import parse_policy, read_policy_file
from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.identifier import Identified
from minibuild.graph.source_policy import Constraint, PolicyRule
from minibuild.session.environment import Environment

RULES: dict[str, Any] = {
    "version": 1,
    "rules": [
        {"selector": {"identifier": "a"}},
        {
            "action": "CONVERT",
            "selector": {
                "identifier": "b",
                "match_type": "REGEX",
                "constraints": [{"key": "k", "value": "v", "condition": "NOTEQUAL"}],
            },
            "updates": {"attrs": {"x": "y"}},
        },
        {"action": 1, "selector": {"identifier": "c", "matchType": "EXACT"}},
    ],
}


def test_a_policy() -> None:
    """Words or numbers; what is missing is as in BuildKit."""
    first, second, third = parse_policy(json.dumps(RULES).encode(), "p").rules
    assert first == PolicyRule("ALLOW", "a", place="rule 1 of p")
    constraints = (Constraint("k", "v", "NOTEQUAL"),)
    updates = Identified("", {"x": "y"})
    assert second == PolicyRule("CONVERT", "b", "REGEX", constraints, updates, "rule 2 of p")
    assert third == PolicyRule("DENY", "c", "EXACT", place="rule 3 of p")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({"action": "DENY"}, r"p: rules\[0\] has no selector"),
        (
            {"action": "FORBID", "selector": {}},
            r"rules\[0\].action is of an unknown type: 'FORBID'",
        ),
        ({"action": 9000, "selector": {}}, r"unknown type: 9000 is none of ALLOW, DENY, CONVERT"),
        ({"selector": {"match_type": "GLOB"}}, r"rules\[0\].selector.match_type is of an unknown"),
        ({"selector": {"identifier": 1}}, r"rules\[0\].selector.identifier is a number"),
        (None, r"rules\[0\] is missing"),
    ],
)
def test_what_is_wrong_in_one(rule: Any, message: str) -> None:
    with pytest.raises(DefinitionError, match=message):
        parse_policy(json.dumps({"rules": [rule]}).encode(), "p")


def test_the_file_of_the_environment(tmp_path: Path) -> None:
    """It counts before what a caller adds."""
    path = tmp_path / "p.json"
    with pytest.raises(UsageError, match="cannot read the policy of sources") as caught:
        read_policy_file(str(path))
    assert not caught.value.hint  # Only if the environment names it.
    path.write_text(json.dumps(RULES))
    environment = Environment({"EXPERIMENTAL_BUILDKIT_SOURCE_POLICY": str(path)}, 0)
    made = build_request(".", {"source_policies": [str(path)]}, environment)
    assert [len(policy.rules) for policy in made.source_policies] == [3, 3]
    assert build_request(".", {}, Environment({}, 0)).source_policies == ()

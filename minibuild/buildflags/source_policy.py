"""Policies of sources as they are written: JSON, as BuildKit's clients read it.

Comes in: a document. Goes out: rules. What is missing is as in BuildKit: an action is ALLOW, a
match WILDCARD. Rules: moby/buildkit `sourcepolicy/pb/policy.proto`.
Read next: `minibuild.graph.source_policy`, which says what the rules do.
"""

from collections.abc import Sequence
from typing import Any, get_args

from minibuild.errors import DefinitionError, UsageError, os_errors_as
from minibuild.graph.identifier import Identified
from minibuild.graph.source_policy import (
    Action,
    Condition,
    Constraint,
    MatchType,
    Policy,
    PolicyRule,
)
from minibuild.oci.document import Member, parse_document

_ACTIONS: Sequence[Any] = get_args(Action)
_MATCHES: Sequence[Any] = get_args(MatchType)
_CONDITIONS: Sequence[Any] = get_args(Condition)


def read_policy_file(path: str, hint: str = "") -> Policy:
    """The policy in a file; the `hint` says who named it. Raises `UsageError` and
    `DefinitionError`."""
    what = f"cannot read the policy of sources {path}"
    with os_errors_as(UsageError, what, hint), open(path, "rb") as file:
        data = file.read()
    return parse_policy(data, path)


def parse_policy(data: bytes, what: str) -> Policy:
    """The policy in a document that errors call `what`. Raises `DefinitionError`."""
    document = parse_document(data, what, error=DefinitionError)
    return Policy(
        tuple(
            _rule(rule.required(), f"rule {number} of {what}")
            for number, rule in enumerate(document["rules"].items(), 1)
        )
    )


def _rule(rule: Member, place: str) -> PolicyRule:
    selector, updates = rule["selector"], rule["updates"]
    if selector.value is None:
        raise rule.wrong("has no selector (invalid nil selector in policy)")
    kind = selector["match_type"] if "match_type" in selector else selector["matchType"]
    return PolicyRule(
        _one_of(_ACTIONS, rule["action"]),
        selector["identifier"].text(),
        _one_of(_MATCHES, kind),
        tuple(_constraint(one.required()) for one in selector["constraints"].items()),
        None
        if updates.value is None
        else Identified(updates["identifier"].text(), updates["attrs"].strings()),
        place,
    )


def _constraint(value: Member) -> Constraint:
    condition = _one_of(_CONDITIONS, value["condition"])
    return Constraint(value["key"].text(), value["value"].text(), condition)


def _one_of(known: Sequence[Any], member: Member) -> Any:
    """One of some words, which the document may give by its number; the first if it is missing."""
    value = member.value
    if value is None:
        return known[0]
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < len(known):
        return known[value]
    if value in known:
        return value
    raise member.wrong(f"is of an unknown type: {value!r} is none of {', '.join(known)}")

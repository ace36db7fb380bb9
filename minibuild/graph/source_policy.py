"""Policies of sources: what a build may use, and what it uses in its place.

Comes in: rules, and the name of a source. Goes out: the name that counts, or an error that says
which rule refused. A policy is a list of rules. Of those that match a source, the last ALLOW or
DENY decides; the first CONVERT that changes it gives it another name or other attributes, and all
begins again. Each policy has to let a source pass.
Rules: moby/buildkit `sourcepolicy`. Read next: `minibuild.frontend.policies`, which applies them.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from minibuild.errors import DefinitionError
from minibuild.graph.identifier import Identified
from minibuild.graph.literals import parse_uint
from minibuild.graph.platform import Platform
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

Action = Literal["ALLOW", "DENY", "CONVERT"]
MatchType = Literal["WILDCARD", "EXACT", "REGEX"]
Condition = Literal["EQUAL", "NOTEQUAL", "MATCHES"]

_MAX_CONVERSIONS = 20
_PLACEHOLDER = regex(r"\$(?:(\$)|\{(\w+)\}|(\w+))")


class Constraint(NamedTuple):
    """What an attribute of the source has to be; one that is missing is empty."""

    key: str
    value: str
    condition: Condition = "EQUAL"


class PolicyRule(NamedTuple):
    """What happens to the sources that match. `updates` are the name and the attributes that a
    CONVERT gives. `place` is what errors call the rule."""

    action: Action
    identifier: str
    match_type: MatchType = "WILDCARD"
    constraints: tuple[Constraint, ...] = ()
    updates: Identified | None = None
    place: str = ""

    def __str__(self) -> str:
        return f"{self.place}: {self.action} {self.identifier}".removeprefix(": ")


class Policy(NamedTuple):
    """Rules, in the order in which they are tried."""

    rules: tuple[PolicyRule, ...]


Judge = Callable[[Identified, Platform | None], Identified]
"""Says what is used for a source: that itself, or another. Images have a platform."""


def folders_of(policies: Iterable[Policy]) -> list[str]:
    """The names of the client's folders that may take the place of other sources."""
    updates = [rule.updates for policy in policies for rule in policy.rules if rule.updates]
    names = {updated.identifier for updated in updates}
    return sorted(n.removeprefix("local://") for n in names if n.startswith("local://"))


def decided(policies: Sequence[Policy], source: Identified) -> Identified:
    """The source that a build uses in the place of this one. Raises `DefinitionError` if it may use
    none."""
    given = source
    for _ in range(_MAX_CONVERSIONS):
        changed = next(filter(None, (_changed(policy, source) for policy in policies)), None)
        if changed is None:
            return source
        source = changed
    raise DefinitionError(
        f"policies of sources convert {given.identifier} again and again",
        hint=f"the last result was {source.identifier}: a rule must not match what it makes",
    )


def _changed(policy: Policy, source: Identified) -> Identified | None:
    """What a policy makes of a source; None if that may be used as it is."""
    refused: PolicyRule | None = None
    for rule in policy.rules:
        if not _matches(rule, source):
            continue
        if rule.action == "CONVERT":
            made = _converted(rule, source)
            if made != source:
                return made
        else:
            refused = rule if rule.action == "DENY" else None
    if refused is not None:
        raise DefinitionError(
            f"source denied by policy: {source.identifier}", hint=f"refused by {refused}"
        )
    return None


def _matches(rule: PolicyRule, source: Identified) -> bool:
    for key, value, condition in rule.constraints:
        found = source.attributes.get(key, "")
        if condition == "MATCHES":
            fits = _compiled(rule, value).search(found) is not None
        else:
            fits = (found == value) == (condition == "EQUAL")
        if not fits:
            return False
    if source.identifier == rule.identifier:
        return True
    return rule.match_type != "EXACT" and _pattern(rule).search(source.identifier) is not None


def _pattern(rule: PolicyRule) -> re.Pattern[str]:
    """The selector as a regular expression. A wildcard fits the whole name."""
    if rule.match_type == "REGEX":
        return _compiled(rule, rule.identifier)
    if "**" in rule.identifier:
        raise DefinitionError(f"invalid wildcard ** in {rule}", hint="one * fits any text")
    parts = map(re.escape, rule.identifier.split("*"))
    return _compiled(rule, rf"\A{'(.*)'.join(parts)}\Z")


def _compiled(rule: PolicyRule, text: str) -> re.Pattern[str]:
    try:
        return re.compile(text)
    except re.error as error:
        raise DefinitionError(f"invalid regular expression in {rule}: {error}") from None


def _converted(rule: PolicyRule, source: Identified) -> Identified:
    if rule.updates is None:
        raise DefinitionError(f"missing destination for convert rule: {rule}", hint="add updates")
    dest = rule.updates.identifier or rule.identifier
    if rule.match_type != "EXACT":
        # As in Go: with a regular expression each match is replaced, and the rest stays.
        dest = _pattern(rule).sub(_expander(dest), source.identifier)
    attributes = {**source.attributes, **rule.updates.attributes}
    return Identified(dest or source.identifier, attributes)


def _expander(template: str) -> Callable[[re.Match[str]], str]:
    """Fills the groups of a match into `$1`, `${1}` and `${name}`, as Go does."""

    def fill(found: re.Match[str], placeholder: re.Match[str]) -> str:
        dollar, braced, bare = placeholder.groups()
        name = braced or bare
        if dollar:
            return "$"
        if not name.isdecimal():
            return found.groupdict().get(name) or ""
        number = parse_uint(name, found.re.groups)
        return (found[number] or "") if number >= 0 else ""

    return lambda found: _PLACEHOLDER.sub(lambda one: fill(found, one), template)

"""Collecting what the checks find, and leaving out what the Dockerfile asks to be spared.

Comes in: the `check` directive (`skip=A,B;error=true;experimental=C`), or the build argument
BUILDKIT_DOCKERFILE_CHECK, which wins over it. Goes out: the findings, each once, also when a
stage is converted for several platforms; and each at once to `warn`, because an error may follow.
A comment `# check=skip=A` right above an instruction spares just that one.
Read next: `written`.
"""

from collections.abc import Iterable

from minibuild.errors import DefinitionError, Span
from minibuild.graph.boolean import parse_bool
from minibuild.graph.frontend import Finding, Warn, ignore_findings
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks.rules import Rule
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import Head

_ALL = "all"
_HINT = "write it like check=skip=RuleA,RuleB;error=true, or check=skip=all"


class CheckConfig(NamedTuple):
    """What a directive says. Names of rules are in lower case; `all` stands for every rule."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        """Whether findings of this rule are to be told. Who asks for an experimental one gets it,
        also beside `skip=all`, as in BuildKit."""
        names = {rule.name.lower(), _ALL}
        return bool(self.experimental & names) if rule.experimental else not self.skip & names


def parse_check(text: str, span: Span) -> CheckConfig:
    """The configuration that the value of a check directive gives."""
    config = CheckConfig()
    for part in filter(None, (part.strip() for part in text.split(";"))):
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise DockerfileError(f'invalid check option "{part}"', span, hint=_HINT)
        names = frozenset(name.strip().lower() for name in value.split(",") if name.strip())
        if key == "skip":
            config = config._replace(skip=names)
        elif key == "experimental":
            config = config._replace(experimental=names)
        elif key == "error":
            try:
                config = config._replace(error=parse_bool(value))
            except ValueError:
                raise DockerfileError(
                    f'failed to parse check option error: "{value}"', span, hint=_HINT
                ) from None
        else:
            raise DockerfileError(f'invalid check option "{key}"', span, hint=_HINT)
    return config


class Checks:
    """The findings so far."""

    __slots__ = ("_findings", "_warn", "config")

    def __init__(self, config: CheckConfig, warn: Warn = ignore_findings) -> None:
        self.config = config
        self._warn = warn
        self._findings: dict[tuple[str, str, Span | None], Finding] = {}

    def report(self, rule: Rule, message: str, head: Head, span: Span | None = None) -> None:
        """Note that an instruction breaks a rule; `span` is the place, if not all of it."""
        if self.config.wants(rule) and not _spared(rule, head):
            self.add(Finding(rule.name, message, span or head.span, rule.description, rule.url))

    def adopt(self, rules: dict[str, Rule], findings: tuple[Finding, ...]) -> None:
        """Take over findings that somebody else made, if they are wanted."""
        for finding in findings:
            rule = rules.get(finding.rule)
            if rule is None or self.config.wants(rule):
                self.add(finding)

    def add(self, finding: Finding) -> None:
        """Keep a finding; the same one is kept once."""
        key = (finding.rule, finding.message, finding.span)
        if key not in self._findings:
            self._findings[key] = finding
            self._warn(finding)

    @property
    def findings(self) -> tuple[Finding, ...]:
        """All findings, in the order of the lines they are about."""
        return in_order(self._findings.values())

    def enforce(self) -> None:
        """Raise an error if there are findings and the directive says `error=true`."""
        findings = self.findings
        if not (self.config.error and findings):
            return
        rules = ", ".join(dict.fromkeys(finding.rule for finding in findings))
        raise DefinitionError(
            f"lint violation found for rules: {rules}",
            hint="mend the lines, or leave error=true out of the check directive",
            span=next((finding.span for finding in findings if finding.span), None),
            detail="\n".join(_line(finding) for finding in findings),
        )


def in_order(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Findings in the order of the lines they are about."""
    return tuple(sorted(findings, key=lambda found: found.span.first if found.span else 0))


def _spared(rule: Rule, head: Head) -> bool:
    """Whether a comment above the instruction spares it this rule."""
    for comment in head.comments:
        key, equals, value = comment.text.partition("=")
        if equals and key.strip().lower() == "check":
            span = head.span._replace(first=comment.line, last=comment.line)
            if parse_check(value, span).skip & {rule.name.lower(), _ALL}:
                return True
    return False


def _line(finding: Finding) -> str:
    place = f"{finding.span.file}:{finding.span.first}: " if finding.span else ""
    return f"{place}{finding.rule}: {finding.message}"

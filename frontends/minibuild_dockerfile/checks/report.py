"""Collecting what the checks find, and leaving out what the Dockerfile asks to be spared.

Comes in: the `check` directive (`skip=A,B;error=true;experimental=C`), or the build argument
BUILDKIT_DOCKERFILE_CHECK, which wins over it. Goes out: the findings, each once, also when a
stage is converted for several platforms; and each at once to `warn`, because an error may follow.
A comment `# check=skip=A` right above an instruction is about just that one.
Read next: `written`.
"""

from collections.abc import Iterable, Mapping

from minibuild.errors import DefinitionError, Span
from minibuild.graph.frontend import Finding, Warn, ignore_findings
from minibuild.graph.literals import parse_bool
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.checks.rules import Rule
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import Head, ParsedFile

_ALL = "all"
_ARGUMENT = "BUILDKIT_DOCKERFILE_CHECK"
_HINT = "write it like check=skip=RuleA,RuleB;error=true, or check=skip=all"


class CheckConfig(NamedTuple):
    """What a directive says. `all` stands for every rule."""

    skip: frozenset[str] = frozenset()
    experimental: frozenset[str] = frozenset()
    error: bool = False

    def wants(self, rule: Rule) -> bool:
        """Whether findings of this rule are to be reported. An experimental one has to be asked
        for, also beside `skip=all`, as in BuildKit."""
        names = {rule.name, _ALL}
        return bool(self.experimental & names) if rule.experimental else not self.skip & names

    def merged(self, other: "CheckConfig") -> "CheckConfig":
        """This configuration and what another one skips, or asks for, besides."""
        return self._replace(
            skip=self.skip | other.skip, experimental=self.experimental | other.experimental
        )


def check_config(parsed: ParsedFile, build_args: Mapping[str, str]) -> CheckConfig:
    """The configuration of a file."""
    if (text := build_args.get(_ARGUMENT)) is not None:
        return _parse(text, Span(parsed.source.name, 1, 1), f"build-arg:{_ARGUMENT}")
    directive = parsed.directives.check
    return _parse(_without_reason(directive.value), directive.span) if directive else CheckConfig()


def _without_reason(text: str) -> str:
    """The value of a directive; what follows a space is the author's reason for it."""
    return text.strip(" ").partition(" ")[0]


def _parse(text: str, span: Span, where: str = "check options") -> CheckConfig:
    """The configuration that the value of a check directive gives. `where` is for errors."""
    config = CheckConfig()
    for part in text.strip().split(";", 2) if text.strip() else ():
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise _invalid(where, f'invalid check option "{part}"', span)
        names = frozenset(name.strip() for name in value.split(",") if name.strip())
        if key == "skip":
            config = config._replace(skip=names)
        elif key == "experimental":
            config = config._replace(experimental=names)
        elif key == "error":
            try:
                config = config._replace(error=parse_bool(value))
            except ValueError:
                message = (
                    f'failed to parse check option "{part}": parsing "{value}": invalid syntax'
                )
                raise _invalid(where, message, span) from None
        else:
            raise _invalid(where, f'invalid check option "{key}"', span)
    return config


def _invalid(where: str, message: str, span: Span) -> DockerfileError:
    return DockerfileError(f"failed to parse {where}: {message}", span, hint=_HINT)


class Checks:
    """The findings so far."""

    __slots__ = ("_findings", "_warn", "config")

    def __init__(self, config: CheckConfig, warn: Warn = ignore_findings) -> None:
        self.config = config
        self._warn = warn
        self._findings: dict[tuple[str, str, Span | None], Finding] = {}

    def report(self, rule: Rule, message: str, head: Head, span: Span | None = None) -> None:
        """Note that an instruction breaks a rule; `span` is the place, if not all of it."""
        self.report_at(rule, message, span or head.span, _of_comments(head))

    def report_at(
        self, rule: Rule, message: str, span: Span, local: CheckConfig | None = None
    ) -> None:
        """Note that some lines break a rule; `local` is what was said about them alone."""
        config = self.config.merged(local) if local else self.config
        if config.wants(rule):
            self.add(Finding(rule.name, message, span, rule.description, rule.url))

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


def _of_comments(head: Head) -> CheckConfig:
    """What a comment above an instruction says about it alone; one that says nothing that a
    directive could say is just a comment."""
    for comment in head.comments:
        key, equals, value = comment.partition("=")
        if equals and key.strip().lower() == "check" and value.strip():
            try:
                return _parse(_without_reason(value), head.span)
            except DockerfileError:
                break
    return CheckConfig()


def _line(finding: Finding) -> str:
    place = f"{finding.span.file}:{finding.span.first}: " if finding.span else ""
    return f"{place}{finding.rule}: {finding.message}"

"""Checks of what is written, before anything is expanded or looked up.

Comes in: the parsed file; then each stage that is built. Goes out: findings. Which rule looks at
stages that are not needed, and which does not, is as in BuildKit.
Read next: `names` for what counts as a secret; `stages`, `config` and `copy` for the other rules.
"""

from collections.abc import Iterable, Sequence

from minibuild_dockerfile.checks import rules
from minibuild_dockerfile.checks.report import Checks
from minibuild_dockerfile.instructions import (
    Arg,
    Cmd,
    Entrypoint,
    Env,
    From,
    Head,
    Healthcheck,
    Instruction,
    Label,
    Maintainer,
    ParsedFile,
    WrittenStage,
)
from minibuild_dockerfile.stages import RESERVED


def check_file(parsed: ParsedFile, stages: Sequence[WrittenStage], checks: Checks) -> None:
    """Check what holds for a whole file, whatever its target."""
    check_instructions(parsed.instructions, checks)
    _stage_names(stages, checks)
    _casing(stages, checks)


def check_instructions(instructions: Iterable[Instruction], checks: Checks) -> None:
    """Check what can be said of an instruction alone, also where a later one cannot be read."""
    for item in instructions:
        match item:
            case From():
                _from(item, checks)
            case Arg():
                names = tuple(declared.name for declared in item.names)
                _described("ARG", names, item.head, checks)
            case Maintainer():
                message = "Maintainer instruction is deprecated in favor of using label"
                checks.report(rules.MAINTAINER_DEPRECATED, message, item.head)


def check_form(item: Env | Label, checks: Checks) -> None:
    """Check that a pair is written with `=`."""
    if item.legacy:
        name = item.head.keyword
        message = f'"{name} key=value" should be used instead of legacy "{name} key value" format'
        checks.report(rules.LEGACY_KEY_VALUE_FORMAT, message, item.head)


def check_once(item: Cmd | Entrypoint | Healthcheck, earlier: Head | None, checks: Checks) -> None:
    """Check that an instruction overwrites none of its stage. The `earlier` one is shown, and a
    comment above the later one may forbid that, as in BuildKit."""
    if earlier is not None:
        message = (
            f"Multiple {item.head.keyword} instructions should not be used in the same "
            "stage because only the last one will be used"
        )
        checks.report(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, message, item.head, earlier.span)


def check_secret(item: Arg | Env, name: str, checks: Checks) -> None:
    """Check that a variable is not named like one with a secret in it."""
    from minibuild.graph.secret_names import may_be_secret

    if may_be_secret(name):
        kind = type(item).__name__.upper()
        message = f'Do not use ARG or ENV instructions for sensitive data ({kind} "{name}")'
        checks.report(rules.SECRETS_USED_IN_ARG_OR_ENV, message, item.head)


def _casing(stages: Sequence[WrittenStage], checks: Checks) -> None:
    """All keywords in one case: that of the majority, capitals if there is none. What stands above
    the first FROM does not count."""
    heads = [item.head for source, below in stages for item in (source, *below)]
    lower = sum(head.keyword == head.keyword.lower() for head in heads)
    upper = sum(head.keyword == head.keyword.upper() for head in heads)
    case = "lowercase" if lower > upper else "uppercase"
    for head in heads:
        keyword = head.keyword
        wanted = keyword.lower() if case == "lowercase" else keyword.upper()
        if keyword != wanted:
            message = f"Command '{keyword}' should match the case of the command majority ({case})"
            checks.report(rules.CONSISTENT_INSTRUCTION_CASING, message, head)


def _stage_names(stages: Sequence[WrittenStage], checks: Checks) -> None:
    seen: set[str] = set()
    for source, _ in stages:
        name = source.name
        if not name:
            continue
        if name in RESERVED:
            message = f'Stage name should not use the same name as reserved stage "{name}"'
            checks.report(rules.RESERVED_STAGE_NAME, message, source.head)
        if name in seen:
            message = f'Duplicate stage name "{name}", stage names should be unique'
            checks.report(rules.DUPLICATE_STAGE_NAME, message, source.head)
        seen.add(name)


def _from(item: From, checks: Checks) -> None:
    if item.written_name != item.name:
        message = f"Stage name '{item.written_name}' should be lowercase"
        checks.report(rules.STAGE_NAME_CASING, message, item.head)
    keyword, word = item.head.keyword, item.as_keyword
    # A FROM in mixed case is a finding of its own, and no measure for AS.
    case = str.upper if keyword.isupper() else str.lower if keyword.islower() else str
    if word != case(word):
        message = f"'{word}' and '{keyword}' keywords' casing do not match"
        checks.report(rules.FROM_AS_CASING, message, item.head)
    if item.name:
        _described("FROM", (item.name,), item.head, checks)


def _described(instruction: str, names: tuple[str, ...], head: Head, checks: Checks) -> None:
    """The comment right above begins with the name of one that it describes, or is not there."""
    comments = [c for c in head.comments if not c.lower().startswith("check=")]
    if comments and comments[-1].split(" ")[0] not in names:
        name = names[0] if len(names) == 1 else "<arg_key>"
        message = f"Comment for {instruction} should follow the format: `# {name} <description>`"
        checks.report(rules.INVALID_DEFINITION_DESCRIPTION, message, head)

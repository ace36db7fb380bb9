"""Checks of what is written, before anything is expanded or looked up.

Comes in: the parsed file, all its stages, needed or not. Goes out: findings.
Read next: `names` for what counts as a secret; `stages`, `config` and `copy` for the other rules.
"""

from collections.abc import Sequence

from frontends.dockerfile.checks import rules
from frontends.dockerfile.checks.report import Checks
from frontends.dockerfile.checks.secrets import may_be_secret
from frontends.dockerfile.instructions import (
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
    Shell,
    ShellForm,
)

_RESERVED = ("scratch", "context")


def check_file(parsed: ParsedFile, stages: Sequence[Sequence[Instruction]], checks: Checks) -> None:
    """Check a whole file."""
    _casing(parsed, checks)
    _stage_names(stages, checks)
    for stage in stages:
        _only_once(stage, checks)
        _json_args(stage, checks)
    for item in parsed.instructions:
        _one(item, checks)


def _casing(parsed: ParsedFile, checks: Checks) -> None:
    """All keywords in one case: that of the majority, capitals if there is none."""
    lower = sum(item.head.keyword == item.head.keyword.lower() for item in parsed.instructions)
    upper = sum(item.head.keyword == item.head.keyword.upper() for item in parsed.instructions)
    case = "lowercase" if lower > upper else "uppercase"
    for item in parsed.instructions:
        keyword = item.head.keyword
        wanted = keyword.lower() if case == "lowercase" else keyword.upper()
        if keyword != wanted:
            message = f"Command '{keyword}' should match the case of the command majority ({case})"
            checks.report(rules.CONSISTENT_INSTRUCTION_CASING, message, item.head)


def _stage_names(stages: Sequence[Sequence[Instruction]], checks: Checks) -> None:
    seen: set[str] = set()
    for stage in stages:
        source = stage[0]
        assert isinstance(source, From)
        if not source.name:
            continue
        written = source.written_name
        if written != source.name:
            message = f"Stage name '{written}' should be lowercase"
            checks.report(rules.STAGE_NAME_CASING, message, source.head)
        if source.name in _RESERVED:
            message = f'Stage name should not use the same name as reserved stage "{written}"'
            checks.report(rules.RESERVED_STAGE_NAME, message, source.head)
        if source.name in seen:
            message = f'Duplicate stage name "{written}", stage names should be unique'
            checks.report(rules.DUPLICATE_STAGE_NAME, message, source.head)
        seen.add(source.name)


def _only_once(stage: Sequence[Instruction], checks: Checks) -> None:
    """CMD, ENTRYPOINT and HEALTHCHECK overwrite an earlier one; the earlier one is at fault."""
    for kind in (Cmd, Entrypoint, Healthcheck):
        for item in [item for item in stage if isinstance(item, kind)][:-1]:
            message = (
                f"Multiple {kind.__name__.upper()} instructions should not be used in the same "
                "stage because only the last one will be used"
            )
            checks.report(rules.MULTIPLE_INSTRUCTIONS_DISALLOWED, message, item.head)


def _json_args(stage: Sequence[Instruction], checks: Checks) -> None:
    """Shell forms of CMD and ENTRYPOINT, unless the author chose a SHELL for them."""
    if any(isinstance(item, Shell) for item in stage):
        return
    for item in stage:
        if isinstance(item, Cmd | Entrypoint) and isinstance(item.command, ShellForm):
            message = (
                f"JSON arguments recommended for {type(item).__name__.upper()} to prevent "
                "unintended behavior related to OS signals"
            )
            checks.report(rules.JSON_ARGS_RECOMMENDED, message, item.head)


def _one(item: Instruction, checks: Checks) -> None:
    """Rules that need to see one instruction only."""
    match item:
        case From():
            _from(item, checks)
        case Arg():
            for declared in item.names:
                _secret("ARG", declared.name, item.head, checks)
                _described(declared.name, declared.comment, item.head, checks)
        case Env():
            for pair in item.pairs:
                _secret("ENV", pair.key, item.head, checks)
        case Maintainer():
            message = "Maintainer instruction is deprecated in favor of using label"
            checks.report(rules.MAINTAINER_DEPRECATED, message, item.head)
    if isinstance(item, Env | Label) and item.legacy:
        name = type(item).__name__.upper()
        message = f'"{name} key=value" should be used instead of legacy "{name} key value" format'
        checks.report(rules.LEGACY_KEY_VALUE_FORMAT, message, item.head)


def _from(item: From, checks: Checks) -> None:
    keyword, word = item.head.keyword, item.as_keyword
    if word and (keyword.isupper(), keyword.islower()) != (word.isupper(), word.islower()):
        message = f"'{word}' and '{keyword}' keywords' casing do not match"
        checks.report(rules.FROM_AS_CASING, message, item.head)
    if item.name:
        _described(item.name, item.comment, item.head, checks)
    platform = item.platform
    if platform in ("$TARGETPLATFORM", "${TARGETPLATFORM}"):
        message = (
            f"Setting platform to predefined {platform} in FROM is redundant as this is the "
            "default behavior"
        )
        checks.report(rules.REDUNDANT_TARGET_PLATFORM, message, item.head)
    elif platform and "$" not in platform and not _names_platform(item.name, platform):
        message = f'FROM --platform flag should not use constant value "{platform}"'
        checks.report(rules.FROM_PLATFORM_FLAG_CONST_DISALLOWED, message, item.head)


def _names_platform(name: str, platform: str) -> bool:
    """A stage called after the system or architecture it is for means to be for just that."""
    system, _, architecture = platform.lower().partition("/")
    return bool(name) and (
        system in name or (architecture != "" and architecture.partition("/")[0] in name)
    )


def _secret(instruction: str, name: str, head: Head, checks: Checks) -> None:
    if may_be_secret(name):
        message = f'Do not use ARG or ENV instructions for sensitive data ({instruction} "{name}")'
        checks.report(rules.SECRETS_USED_IN_ARG_OR_ENV, message, head)


def _described(name: str, comment: str, head: Head, checks: Checks) -> None:
    """A comment right above should be a description, or not be right above."""
    comments = [c for c in head.comments if not c.text.lower().startswith("check=")]
    if comments and not comment:
        kind = "ARG" if head.keyword.upper() == "ARG" else "stage"
        message = f"Comment for {kind} should follow the format: `# {name} <description>`"
        checks.report(rules.INVALID_DEFINITION_DESCRIPTION, message, head)

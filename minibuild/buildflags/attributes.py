"""The words that several flags have: `type=oci,dest=x`, `a,b`, `KEY=VALUE`, `64m`, `linux/amd64`.

Comes in: the text of one flag. Goes out: its fields or its value, or a `UsageError` that says how
to write it. Sizes and truth values are those of Docker's flags: k, m, g are powers of 1024. The
syntax is that of `docker buildx build` (its flag reference, and buildx's package
`util/buildflags`): comma-separated fields as in a CSV file, so that a field may be quoted. Nothing
here looks at files. Read next: `output`.
"""

from collections.abc import Iterable

from minibuild.errors import DefinitionError, UsageError
from minibuild.graph import literals
from minibuild.graph.platform import Platform, host_platform, parse_platform
from minibuild.graph.reference import familiar_name, parse_reference
from minibuild.graph.spelling import one_of
from minibuild.session.environment import Environment


def fields(text: str) -> list[str]:
    """The fields of one CSV record; `"` quotes a field, and `""` inside stands for `"`."""
    if '"' not in text:
        return text.split(",")
    try:
        return literals.csv_record(text)
    except ValueError:
        raise UsageError(
            f"a quotation mark that does not enclose a field: {text}",
            hint="quote the whole field, and write a quotation mark in it twice",
        ) from None


def attributes(text: str, flag: str) -> dict[str, str]:
    """The `key=value` fields of a flag; keys in lower case."""
    found: dict[str, str] = {}
    for field in fields(text):
        key, equals, value = field.partition("=")
        if not equals:
            raise UsageError(
                f"invalid field {field!r} in --{flag} {text}: it must be key=value",
                hint=f"see `minibuild build --help` for the form of --{flag}",
            )
        found[key.strip().lower()] = value
    return found


def build_context(text: str) -> tuple[str, str]:
    """`NAME=PATH|URL`. The name is an image's or a word: its default registry and tag go."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise UsageError(
            f"invalid context value {text!r}: it must be NAME=VALUE",
            hint="write it like --build-context base=docker-image://alpine:3.20",
        )
    return familiar_name(name), value


def assignment(text: str, flag: str) -> tuple[str, str | None]:
    """`KEY=VALUE`, or `KEY` alone (then None): for build args, labels and annotations."""
    key, equals, value = text.partition("=")
    if not key:
        raise UsageError(f"--{flag} {text!r} has no name before the equals sign")
    insist_on_text(text, f"--{flag} {key}")
    return key, value if equals else None


def assignments(texts: list[str], flag: str) -> dict[str, str]:
    """Several of these, all with a value."""
    found = {}
    for text in texts:
        key, value = assignment(text, flag)
        if value is None:
            raise UsageError(f"--{flag} {text}: it must be {text}=VALUE")
        found[key] = value
    return found


def insist_on_text(value: str, what: str) -> None:
    """Refuse bytes that are no UTF-8: the config of an image is JSON, which cannot say them."""
    try:
        value.encode()
    except UnicodeEncodeError:
        raise UsageError(
            f"{what} is not UTF-8", hint="bytes that are no text can come from a file, by COPY"
        ) from None


def listed(text: str) -> list[str]:
    """`a,b`: the words between the commas."""
    return [word for word in (part.strip() for part in fields(text)) if word]


def check_reference(ref: str, what: str, *, written: bool) -> None:
    """Raise `UsageError` if a reference cannot be one, or not one that is `written` to. `what` is
    the flag that it stands in."""
    try:
        reference = parse_reference(ref)
    except DefinitionError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from None
    if written and reference.digest is not None:
        raise UsageError(f"{what}: a digest cannot be written to", hint="give a tag: NAME:TAG")


# --- Sizes and truth values ---


def size_bytes(text: str, flag: str) -> int:
    """The bytes that `text` names: a number, maybe with a fraction, and k, m, g, t or p."""
    try:
        return literals.size_bytes(text.strip())
    except ValueError:
        raise UsageError(
            f"invalid size {text!r} for --{flag}", hint="write it like 64m, 1.5g or 1048576"
        ) from None


def truth(text: str, flag: str, known: Iterable[str] = ("true", "false")) -> bool:
    """The value of a flag given as `--flag=VALUE`; `known` is what else it may be."""
    try:
        return literals.parse_bool(text)
    except ValueError:
        raise UsageError(f"invalid value {text!r} for --{flag}", hint=one_of(text, known)) from None


# --- Platforms ---


_VARIABLE = "DOCKER_DEFAULT_PLATFORM"


def default_platforms(environment: Environment) -> tuple[Platform, ...]:
    """The platforms to build for where no flag names one; none if that is not said."""
    words = listed(environment.default_platform)
    return tuple(dict.fromkeys(_parsed(word, _VARIABLE) for word in words))


def platform(text: str, environment: Environment) -> Platform:
    """The one platform that a flag names, or that is meant without it."""
    if text:
        return _parsed(text, "--platform")
    default = environment.default_platform
    return _parsed(default, _VARIABLE) if default else host_platform()


def _parsed(word: str, where: str) -> Platform:
    try:
        return host_platform() if word == "local" else parse_platform(word)
    except DefinitionError as error:
        raise UsageError(f"{where}: {error.message}", hint=error.hint) from None

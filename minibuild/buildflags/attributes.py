"""How flags say several things at once: `type=oci,dest=x`, `a,b`, `KEY=VALUE`.

Comes in: the text of one flag. Goes out: its fields, or a `UsageError` that says how to write it.
The syntax is that of `docker buildx build` (its flag reference, and buildx's package
`util/buildflags`): comma-separated fields as in a CSV file, so that a field may be quoted.
Nothing here looks at files or at the environment. Read next: `sizes`, `output`.
"""

from minibuild.errors import DefinitionError, UsageError
from minibuild.graph.literals import csv_record
from minibuild.graph.reference import familiar_name, parse_reference


def fields(text: str) -> list[str]:
    """The fields of one CSV record; `"` quotes a field, and `""` inside stands for `"`."""
    if '"' not in text:
        return text.split(",")
    try:
        return csv_record(text)
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

"""How flags say several things at once: `type=oci,dest=x`, `a,b`, `KEY=VALUE`.

Comes in: the text of one flag. Goes out: its fields, or a `UsageError` that says how to write it.
The syntax is that of `docker buildx build` (its flag reference, and buildx's package
`util/buildflags`): comma-separated fields as in a CSV file, so that a field may be quoted.
Nothing here looks at files or at the environment. Read next: `sizes`, `output`.
"""

from minibuild.errors import DefinitionError, UsageError


def fields(text: str) -> list[str]:
    """The fields of one CSV record; `"` quotes a field, and `""` inside stands for `"`."""
    found: list[str] = []
    position = 0
    while True:
        if text.startswith('"', position):
            field, position = _quoted(text, position + 1)
        else:
            end = text.find(",", position)
            end = len(text) if end < 0 else end
            field, position = text[position:end], end
            if '"' in field:
                raise UsageError(
                    f"a quotation mark inside a field that does not begin with one: {field}",
                    hint="quote the whole field, and write a quotation mark in it twice",
                )
        found.append(field)
        if position == len(text):
            return found
        position += 1  # the comma


def _quoted(text: str, position: int) -> tuple[str, int]:
    field = ""
    while True:
        end = text.find('"', position)
        if end < 0:
            raise UsageError(f"a quoted field has no end: {text}")
        field += text[position:end]
        if text.startswith('""', end):
            field += '"'
            position = end + 2
            continue
        if end + 1 < len(text) and text[end + 1] != ",":
            raise UsageError(f"text after a quoted field: {text[end + 1 :]}", hint="put a comma")
        return field, end + 1


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
    for prefix in ("index.docker.io/", "docker.io/"):
        name = name.removeprefix(prefix)
    return name.removeprefix("library/").removesuffix(":latest"), value


def assignment(text: str, flag: str) -> tuple[str, str | None]:
    """`KEY=VALUE`, or `KEY` alone (then None): for build args, labels and annotations."""
    key, equals, value = text.partition("=")
    if not key:
        raise UsageError(f"--{flag} {text!r} has no name before the equals sign")
    insist_on_text(text, f"--{flag} {key}")
    return key, value if equals else None


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
    from minibuild.oci.reference import parse_reference

    try:
        reference = parse_reference(ref)
    except DefinitionError as error:
        raise UsageError(f"{what}: {error.message}", hint=error.hint) from None
    if written and reference.digest is not None:
        raise UsageError(f"{what}: a digest cannot be written to", hint="give a tag: NAME:TAG")

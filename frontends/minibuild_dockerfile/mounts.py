"""`RUN --mount`: from its text to a typed mount, in two steps.

Comes in: the value of the flag. Goes out: first a `MountSpec` (when the file is read: only the
form is checked), then, once the variables are known, a mount of the graph. BuildKit works in the
same two steps, so a bad mount in a stage that is not built is no error, and `type` may be a
variable.
Read next: `run`, which gives the mounts their places in an Exec.

The fields are one record of CSV (RFC 4180): a field with a comma in it is put in double quotes,
and these in single quotes, which the flag itself takes away. An option that means nothing for a
type (`source` of a tmpfs) is accepted, as BuildKit does.
"""

import re
from collections.abc import Callable
from typing import get_args

from minibuild.errors import Span
from minibuild.graph.literals import csv_record, parse_bool, size_bytes
from minibuild.graph.op import (
    BindMount,
    CacheMount,
    ExecMount,
    SecretMount,
    Sharing,
    SshMount,
    TmpfsMount,
)
from minibuild.graph.spelling import did_you_mean
from minibuild.startup.tuples import NamedTuple
from minibuild_dockerfile.errors import DockerfileError
from minibuild_dockerfile.instructions import MountField, MountSpec

SHARINGS: dict[str, Sharing] = {name: name for name in get_args(Sharing)}
TYPES = ("bind", "cache", "tmpfs", "secret", "ssh")
_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "rw": "readwrite",
}
_KEYS = (
    *("type", "from", "source", "target", "readonly", "id", "sharing", "required", "size", "mode"),
    *("uid", "gid", "src", "dst", "destination", "ro", "rw", "readwrite", "env"),
)
_ALONE = ("readonly", "readwrite", "required")
_ONLY_FOR = {"required": ("secret", "ssh"), "size": ("tmpfs",)}
_FILE_TYPES = ("secret", "ssh", "cache")


class Resolved(NamedTuple):
    """A mount whose values are known, and `from_`, what it reads: empty for the context.

    Its target is as written, relative to the working directory (an empty one is that directory, or
    the usual place of an agent), and so is its source; it has no input yet, and the id of a cache
    may be empty. The mode, uid and gid of a cache are None where they are not given.
    """

    mount: ExecMount
    from_: str = ""


def parse_mount(text: str, span: Span) -> MountSpec:
    """Cut the value of a --mount into fields."""
    try:
        fields = tuple(_field(field) for field in csv_record(text))
    except ValueError as error:
        raise DockerfileError(
            f"failed to parse csv mounts: {error}",
            span,
            hint="put a whole field in double quotes and the flag in single ones, as in "
            "--mount='target=/x,\"source=a,b\"'; double a quote inside",
        ) from None
    for field in fields:
        if field.key == "from" and re.search(r"\$.", field.value or ""):
            raise DockerfileError(
                "'from' doesn't support variable expansion, define alias stage instead",
                span,
                hint=f"add a line FROM {field.value} AS name, and write from=name",
            )
    return MountSpec(fields, span)


def _field(text: str) -> MountField:
    key, equals, value = text.partition("=")
    return MountField(key.lower(), value if equals else None, text)


def resolve(spec: MountSpec, expand: Callable[[str], str]) -> Resolved:
    """The mount, its values expanded. Raises `DockerfileError` with the mount's span."""
    options = _Options(spec.span)
    for field in spec.fields:
        options.take(field, expand)
    return options.mount()


class _Options:
    """The options of one mount as they are read, one after the other. Order matters: `required`
    and `size` are understood only after the `type` they belong to."""

    __slots__ = ("kind", "numbers", "readonly", "required", "sharing", "span", "texts")

    def __init__(self, span: Span) -> None:
        self.span = span
        self.kind = "bind"
        self.texts: dict[str, str] = {}
        self.numbers: dict[str, int] = {}
        self.readonly: bool | None = None
        self.required = False
        self.sharing: Sharing | None = None

    def wrong(self, message: str, hint: str = "") -> DockerfileError:
        return DockerfileError(message, self.span, hint=hint)

    def take(self, field: MountField, expand: Callable[[str], str]) -> None:
        """Understand one field."""
        key = _ALIASES.get(field.key, field.key)
        if field.value is None:
            if key not in _ALONE:
                raise self.wrong(
                    f"invalid field '{field.text}' must be a key=value pair",
                    "write fields like type=cache,target=/path, without spaces",
                )
            value = "true"
        else:
            value = expand(field.value)
        if field.key not in _KEYS:
            raise self.wrong(
                f"unexpected key '{field.key}' in '{field.text}'{did_you_mean(field.key, _KEYS)}",
                "the keys are " + ", ".join(key for key in _KEYS if key not in _ALIASES),
            )
        if key in _ONLY_FOR and self.kind not in _ONLY_FOR[key]:
            kinds = " or ".join(_ONLY_FOR[key])
            raise self.wrong(
                f"unexpected key '{key}' for mount type '{self.kind}'",
                f"'{key}' belongs to type={kinds}, and type has to come first",
            )
        self.store(field.key, key, value)

    def store(self, written: str, key: str, value: str) -> None:
        """Keep one option under its own name, in its own type."""
        if key == "type":
            self.kind = self.choice("mount type", value, TYPES)
        elif key == "sharing":
            self.sharing = SHARINGS[self.choice("sharing value", value, SHARINGS)]
        elif key in _ALONE:
            self.flag(written, key, value)
        elif key in ("mode", "uid", "gid"):
            self.numbers[key] = self.number(key, value)
        elif key == "size":
            try:
                self.numbers[key] = size_bytes(value)
            except ValueError:
                raise self.wrong(
                    f"invalid value for {key}: {value}", "write a size such as 64k, 100m or 1g"
                ) from None
        else:
            self.texts[key] = value

    def choice(self, what: str, value: str, known: tuple[str, ...] | dict[str, Sharing]) -> str:
        if value.lower() not in known:
            begun = [name for name in known if value and name.startswith(value.lower())]
            near = did_you_mean(begun[0] if len(begun) == 1 else value, known)
            raise self.wrong(
                f'unsupported {what} "{value}"{near}',
                "it may be " + ", ".join(known),
            )
        return value.lower()

    def flag(self, written: str, key: str, value: str) -> None:
        try:
            on = parse_bool(value)
        except ValueError:
            raise self.wrong(
                f"invalid value for {written}: {value}", "write true or false"
            ) from None
        if key == "required":
            self.required = on
        else:
            self.readonly = on == (key == "readonly")

    def number(self, key: str, value: str) -> int:
        digits = "[0-7]{1,12}" if key == "mode" else "[0-9]{1,12}"
        number = int(value, 8 if key == "mode" else 10) if re.fullmatch(digits, value) else -1
        if not 0 <= number < 2**32:
            hint = "write octal digits, such as 0755" if key == "mode" else "write a number"
            raise self.wrong(f"invalid value {value} for {key}", hint)
        return number

    def mount(self) -> Resolved:
        """The mount, once all options are known."""
        for key in ("mode", "uid", "gid"):
            if key in self.numbers and self.kind not in _FILE_TYPES:
                raise self.wrong(
                    f'{key} not allowed for "{self.kind}" type mounts',
                    f"{key} is for mounts of the types " + ", ".join(_FILE_TYPES),
                )
        if self.kind == "secret":
            return Resolved(self.secret())
        if self.sharing and self.kind != "cache":
            raise self.wrong(f"invalid cache sharing set for {self.kind} mount")
        if self.kind == "ssh":
            return Resolved(self.ssh())
        target, readonly = self.texts.get("target", ""), self.readonly
        source, from_ = self.texts.get("source", ""), self.texts.get("from", "")
        if self.kind == "bind":
            return Resolved(BindMount(target, -1, source, readonly is not False), from_)
        if self.kind == "tmpfs":
            return Resolved(TmpfsMount(target, self.numbers.get("size", 0), readonly is True))
        id, sharing = self.texts.get("id", ""), self.sharing or "shared"
        mode, uid, gid = (self.numbers.get(key) for key in ("mode", "uid", "gid"))
        cache = CacheMount(target, id, sharing, readonly is True, -1, source, mode, uid, gid)
        return Resolved(cache, from_)

    def owner(self, mode: int) -> dict[str, int]:
        """Mode, uid and gid, with the default for the mode."""
        return {
            "mode": self.numbers.get("mode", mode),
            "uid": self.numbers.get("uid", 0),
            "gid": self.numbers.get("gid", 0),
        }

    def secret(self) -> SecretMount:
        """A secret needs a name: its id, else its source, else the last part of its target."""
        source, target = self.texts.get("source", ""), self.texts.get("target", "")
        id, env = self.texts.get("id", ""), self.texts.get("env", "")
        if self.texts.get("from"):
            raise self.wrong("secret mount should not have a from")
        if self.sharing:
            raise self.wrong("secret mount should not define sharing")
        if not (source or target or id):
            raise self.wrong(
                "invalid secret mount. one of source, target required",
                "name the secret: id=NAME, as in --secret id=NAME,src=FILE",
            )
        if source and id:
            raise self.wrong("both source and id can't be set", "leave out source")
        id = id or source or target.rstrip("/").rpartition("/")[2]
        if not (target or env):
            target = "/run/secrets/" + id.rpartition("/")[2]
        return SecretMount(id, target, env, self.required, **self.owner(0o400))

    def ssh(self) -> SshMount:
        if self.texts.get("source"):
            raise self.wrong("ssh does not support source", "name the agent by id=NAME")
        id = self.texts.get("id") or "default"
        return SshMount(id, self.texts.get("target", ""), self.required, **self.owner(0o600))

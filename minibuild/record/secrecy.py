"""Keeping secrets out of records.

Comes in: a request, the definition's text, and the steps. Goes out: a function that replaces
secret values in text. Secret are the values of secrets, those of variables whose names say so (as
the check SecretsUsedInArgOrEnv has it), and passwords in addresses. A value becomes
`sha256:` and 8 digits, so that two records can be compared.
"""

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from minibuild.digest import digest_strings
from minibuild.errors import BuildError
from minibuild.graph.address import without_passwords
from minibuild.graph.op import Exec
from minibuild.graph.secret_names import may_be_secret
from minibuild.graph.vertex import Vertex
from minibuild.session.request import BuildRequest, Secret
from minibuild.session.secrets import SecretReader
from minibuild.startup.regex import regex

_ASSIGNED = regex(r"""\b(?P<name>[A-Za-z_]\w*)=(?P<value>"[^"\n]*"|'[^'\n]*'|[^\s"']+)""")
_OLD_FORM = regex(r"(?im)^\s*(?:ENV|ARG)\s+(?P<name>[A-Za-z_]\w*)[ \t]+(?P<value>\S.*?)\s*$")

_PASSWORD = regex(r"""://[^/?#@:\s"']*:(?P<password>[^/?#@\s"']+)@""")

_SHORTEST = 4
_COMMON = frozenset(("true", "false", "none", "null", "auto", "default", "root"))
"""Values that are no secrets whatever the name says, and would be found everywhere."""

_WORDS = ("key", "auth", "credential", "pass", "pword", "secret", "token")

_NAMES_OF_THE_RECORD = frozenset(
    ("format", "id", "kind", "state", "key", "digest", "diff_id", "result", "adds", "started")
)
"""Members of a record whose values minibuild itself made."""


def hashed(value: str) -> str:
    """What stands in a record for a secret value."""
    return digest_strings((value,))[:15]


def _sounds_secret(text: str) -> bool:
    """Whether a secret name may be in a text. Most have none, and expressions take long to make."""
    lower = text.lower()
    return any(word in lower for word in _WORDS)


def _is_secret(name: str) -> bool:
    return _sounds_secret(name) and may_be_secret(name)


class Mask:
    """Replaces secret values. The longest first: one may be a part of another."""

    def __init__(self, values: Iterable[str]) -> None:
        kept = {v for v in values if len(v) >= _SHORTEST and v.lower() not in _COMMON}
        self._found = [(value, hashed(value)) for value in sorted(kept, key=len, reverse=True)]

    def __bool__(self) -> bool:
        """Whether there is a value to replace."""
        return bool(self._found)

    def text(self, text: str) -> str:
        """A text without them."""
        for value, instead in self._found:
            text = text.replace(value, instead)
        return without_passwords(text)

    def data(self, value: Any, name: str = "") -> Any:
        """The same for plain data. A pair of a secret name and a value loses the value."""
        if name in _NAMES_OF_THE_RECORD:
            return value
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list | tuple):
            if len(value) == 2 and all(isinstance(v, str) for v in value):
                return [value[0], self._assigned(*value)]
            return [self.data(item) for item in value]
        if isinstance(value, Mapping):
            return {self.text(k): self._member(k, v) for k, v in value.items()}
        return value

    def _member(self, name: str, value: Any) -> Any:
        if name == "bytes" and isinstance(value, str):
            return hashed(value)  # the text of a file in the definition, in which none is found
        return self._assigned(name, value) if isinstance(value, str) else self.data(value, name)

    def _assigned(self, name: str, value: str) -> str:
        if name in _NAMES_OF_THE_RECORD:
            return value
        if value and _is_secret(name):
            return hashed(value)
        return self.text(value)


def mask_of(request: BuildRequest, text: str, vertices: Iterable[Vertex]) -> Mask:
    """What replaces the secrets of a build."""
    return Mask((*_of_variables(request, text, vertices), *_of_secrets(request)))


def _of_variables(request: BuildRequest, text: str, vertices: Iterable[Vertex]) -> Iterator[str]:
    pairs = [*request.build_args.items()]
    for vertex in vertices:
        if isinstance(vertex.op, Exec):
            pairs += vertex.op.env
    forms = (_ASSIGNED, _OLD_FORM) if _sounds_secret(text) else ()
    for found in (match for form in forms for match in form.finditer(text)):
        value = found["value"]
        if value[0] in "\"'" and value[-1] == value[0]:
            value = value[1:-1]
        if not value.startswith("$"):
            pairs.append((found["name"], value))
    yield from secret_values(pairs)
    addresses = "\n".join((request.context, *request.contexts.values(), text))
    if "@" in addresses:
        yield from (found["password"] for found in _PASSWORD.finditer(addresses))


def secret_values(pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    """The values of variables whose names say that they are secret."""
    yield from (value for name, value in pairs if value and _is_secret(name))


def all_can_be_read(request: BuildRequest) -> bool:
    """Whether the values of all secrets are known, and so can be found in logs. One that came
    through a pipe was read by the step that it was for, and cannot be read again."""
    return all(secret.value is not None or _is_file(secret) for secret in request.secrets)


def _is_file(secret: Secret) -> bool:
    try:
        return stat.S_ISREG(os.stat(secret.path or secret.id).st_mode)
    except OSError:
        return False


def _of_secrets(request: BuildRequest) -> Iterator[str]:
    """The values of secrets, and each of their lines: a step may print one of a key."""
    read = SecretReader(request.secrets)
    for secret in request.secrets:
        if secret.value is None and not _is_file(secret):
            continue  # to open a pipe that has no writer would take for ever
        try:
            data = read(secret.id)
        except BuildError:
            continue
        text = (data or b"").decode("utf-8", "surrogateescape").strip()
        yield text
        yield from (line.strip() for line in text.splitlines())

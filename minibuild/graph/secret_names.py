"""Names of variables that look as if their value were secret.

Comes in: a name. Goes out: a guess. The words are those that BuildKit's check looks for, as whole
parts of a name between underscores; some names that only sound secret are let off.
"""

from minibuild.startup.regex import regex

_SECRET = regex(
    r"(?:^|_)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:$|_)"
)
_HARMLESS = regex(r"(?:^|_)(?:public|file|version)(?:$|_)")


def may_be_secret(name: str) -> bool:
    """Whether a variable of this name probably holds a secret."""
    lower = name.lower()
    return bool(_SECRET.search(lower)) and not _HARMLESS.search(lower)

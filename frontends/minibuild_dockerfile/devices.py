"""`RUN --device`: only its form is checked, as BuildKit does when it reads the file.

Comes in: the value of the flag, one record of CSV: `NAME`, `name=NAME`, `required`. Goes out:
nothing, or an error. That no step gets a device is an error of a stage that is built.
"""

from minibuild.errors import Span
from minibuild.graph.literals import csv_record, parse_bool
from minibuild.graph.spelling import did_you_mean
from minibuild_dockerfile.errors import DockerfileError

_KEYS = ("name", "required")
_HINT = "write --device=NAME, and ,required behind it if the step needs the device"


def check_device(text: str, span: Span) -> None:
    """Raise `DockerfileError` if the value is malformed."""
    try:
        fields = csv_record(text)
    except ValueError as error:
        raise DockerfileError(f"failed to parse csv devices: {error}", span, hint=_HINT) from None
    name = ""
    for field in fields:
        written, equals, value = field.partition("=")
        key = written.lower()
        if key == "required":
            try:
                parse_bool(value if equals else "true")
            except ValueError:
                message = f"invalid value for {key}: {value}"
                raise DockerfileError(message, span, hint="write true or false") from None
        elif key == "name" and equals:
            if name:
                raise DockerfileError(f"device name already set to {name}", span, hint=_HINT)
            name = value
        elif not name:
            name = field
        else:
            message = (
                f"unexpected key '{key}' in '{field}'{did_you_mean(key, _KEYS)}"
                if equals
                else f"invalid field '{field}' must be a key=value pair"
            )
            raise DockerfileError(message, span, hint=_HINT)

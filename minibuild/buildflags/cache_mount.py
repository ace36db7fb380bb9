"""Where cache mounts travel to: the values of `--cache-mount-to` and `--cache-mount-from`.

Comes in: the text of a flag. Goes out: a place, or a `UsageError` that says how to write it. The
form is that of buildx's `--cache-to` and `--cache-from`: a name alone is one in a registry. Here
further keys may follow it.
"""

from typing import Literal

from minibuild.buildflags.attributes import check_reference, fields
from minibuild.buildflags.sizes import truth
from minibuild.errors import UsageError
from minibuild.layer.compress import compressor
from minibuild.oci.model import Compression
from minibuild.session.request import CacheMountPlace

_TYPES: tuple[Literal["registry", "local"], ...] = ("registry", "local")
_COMPRESSIONS: tuple[Compression, ...] = ("zstd", "gzip", "uncompressed")
_EVERYWHERE = {"type", "id", "registry.insecure", "ref", "tag"}
_KEYS = {
    "cache-mount-to": {"dest", "compression", "compression-level", "ignore-error"} | _EVERYWHERE,
    "cache-mount-from": {"src", "force"} | _EVERYWHERE,
}
_FORM = {
    "cache-mount-to": "type=registry,ref=REGISTRY/NAME:TAG or type=local,dest=DIR",
    "cache-mount-from": "type=registry,ref=REGISTRY/NAME:TAG or type=local,src=DIR",
}


def place(text: str, flag: str) -> CacheMountPlace:
    """The place that the value of `flag` (`cache-mount-to`, `cache-mount-from`) names."""
    given, ids = _pairs(text, flag)
    kind = given.get("type", "registry" if "ref" in given else "")
    known = [one for one in _TYPES if one == kind]
    if not known:
        raise UsageError(
            f"--{flag} {text}: " + (f"unknown type {kind!r}" if kind else "no type"),
            hint=f"write {_FORM[flag]}",
        )
    made = CacheMountPlace(
        known[0],
        ref=given.get("ref", ""),
        path=given.get("dest", "") or given.get("src", ""),
        tag=given.get("tag", "latest"),
        ids=tuple(ids),
        force=_truth(given, "force"),
        compression=_compression(given),
        level=_level(given),
        insecure=_truth(given, "registry.insecure"),
        ignore_error=_truth(given, "ignore-error"),
    )
    return checked_place(made, flag, text)


def _pairs(text: str, flag: str) -> tuple[dict[str, str], list[str]]:
    """The fields of a flag, and its ids, of which there may be several."""
    given: dict[str, str] = {}
    ids: list[str] = []
    for number, field in enumerate(fields(text)):
        key, equals, value = field.partition("=")
        key = key.strip().lower()
        if not number and field and not equals:
            key, equals, value = "ref", "=", field  # a name in a registry needs no key
        if not equals or key not in _KEYS[flag]:
            raise UsageError(
                f"--{flag} {text}: unknown field {field!r}",
                hint="the keys are " + ", ".join(sorted(_KEYS[flag])),
            )
        if key == "id":
            ids.append(value)
        else:
            given[key] = value
    return given, ids


def checked_place(made: CacheMountPlace, flag: str, text: str = "") -> CacheMountPlace:
    """The place, if it has what its type needs: a slip is found before the build. Raises
    `UsageError`."""
    what = f"--{flag} {text}" if text else f"{flag.replace('-', '_')}, type={made.type},"
    if made.type not in _TYPES:
        raise UsageError(f"{what}: unknown type {made.type!r}", hint=f"write {_FORM[flag]}")
    wrong = made.path and made.ref
    if wrong or not (made.path if made.type == "local" else made.ref):
        raise UsageError(f"{what} names no place", hint=f"write {_FORM[flag]}")
    if made.type == "local":
        return made
    check_reference(made.ref, what, written=flag == "cache-mount-to")
    return made


def _truth(given: dict[str, str], key: str) -> bool:
    return key in given and truth(given[key], key)


def _compression(given: dict[str, str]) -> Compression:
    asked = given.get("compression", "zstd")
    for known in _COMPRESSIONS:
        if asked == known:
            return known
    raise UsageError(f"unknown compression {asked!r}", hint="there are " + ", ".join(_COMPRESSIONS))


def _level(given: dict[str, str]) -> int | None:
    text = given.get("compression-level")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"compression-level {text!r} is no number")
    # Refuses what the algorithm does not have.
    compressor(_compression(given), int(text), lambda data: None).close()
    return int(text)

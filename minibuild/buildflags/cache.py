"""Where results of steps travel to: the values of `--cache-to` and `--cache-from`.

Comes in: the text of a flag. Goes out: a place, or a `UsageError` that says how to write it. The
keys are those of buildx (its reference of `build`, and "Cache storage backends").
"""

from minibuild.buildflags.attributes import check_reference, fields
from minibuild.buildflags.sizes import truth
from minibuild.errors import UsageError
from minibuild.layer.compress import compressor
from minibuild.oci.model import Compression
from minibuild.session.request import CachePlace

_COMPRESSIONS: tuple[Compression, ...] = ("zstd", "gzip", "uncompressed")
_EXPORT = {"mode", "compression", "compression-level", "force-compression", "ignore-error"}
_EXPORT |= {"image-manifest", "oci-mediatypes"}
_KEYS = {
    ("cache-to", "registry"): {"ref", "registry.insecure"} | _EXPORT,
    ("cache-to", "local"): {"dest", "tag", "reset"} | _EXPORT,
    ("cache-to", "inline"): set[str](),
    ("cache-from", "registry"): {"ref", "registry.insecure"},
    ("cache-from", "local"): {"src", "tag", "digest"},
}
_FORM = {
    "cache-to": "type=registry,ref=REGISTRY/NAME:TAG,mode=max, type=local,dest=DIR or type=inline",
    "cache-from": "type=registry,ref=REGISTRY/NAME:TAG or type=local,src=DIR",
}
_SERVICES = ("gha", "s3", "azblob")


def place(text: str, flag: str) -> CachePlace:
    """The place that the value of `flag` (`cache-to`, `cache-from`) names."""
    given = _pairs(text, flag)
    kind = given.pop("type", "registry" if "ref" in given else "")
    if (flag, kind) == ("cache-from", "inline"):
        raise UsageError(
            f"--{flag} {text}: a cache that is in an image is read by the name of the image",
            hint="write --cache-from REGISTRY/NAME:TAG",
        )
    if (flag, kind) not in _KEYS:
        what = f"unknown type {kind!r}" if kind else "no type"
        if kind in _SERVICES:
            what = f"type={kind} needs a service that minibuild has no client for"
        raise UsageError(f"--{flag} {text}: {what}", hint=f"write {_FORM[flag]}")
    for key in given:
        if key not in _KEYS[flag, kind]:
            known = ", ".join(sorted(_KEYS[flag, kind])) or "no others"
            raise UsageError(f"--{flag} {text}: unknown field {key!r}", hint=f"there are {known}")
    for key in ("image-manifest", "oci-mediatypes"):
        if key in given and not truth(given[key], key):
            raise UsageError(
                f"--{flag} {text}: a cache is written as an OCI image manifest and not otherwise",
                hint=f"leave {key} out",
            )
    return checked_place(_made(kind, given), flag, text)


def _pairs(text: str, flag: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for number, field in enumerate(fields(text)):
        key, equals, value = field.partition("=")
        if not number and field and not equals:
            key, equals, value = "ref", "=", field  # a name in a registry needs no key
        if not equals:
            raise UsageError(
                f"--{flag} {text}: {field!r} must be key=value", hint=f"write {_FORM[flag]}"
            )
        found[key.strip().lower()] = value
    return found


def _made(kind: str, given: dict[str, str]) -> CachePlace:
    made = CachePlace(
        "local" if kind == "local" else "inline" if kind == "inline" else "registry",
        ref=given.get("ref", ""),
        path=given.get("dest", "") or given.get("src", ""),
        tag=given.get("tag", "latest"),
        digest=given.get("digest", ""),
        force_compression=_truth(given, "force-compression"),
        insecure=_truth(given, "registry.insecure"),
        ignore_error=_truth(given, "ignore-error"),
        reset=_truth(given, "reset", "true"),
    )
    mode, kinds = given.get("mode", "min"), _COMPRESSIONS
    if mode not in ("min", "max"):
        raise UsageError(f"unknown mode {mode!r}", hint="it is min or max")
    made = made._replace(mode="max" if mode == "max" else "min")
    if "compression" in given:
        chosen = next((one for one in kinds if one == given["compression"]), None)
        if chosen is None:
            raise UsageError(
                f"unknown compression {given['compression']!r}",
                hint="there are " + ", ".join(kinds),
            )
        made = made._replace(compression=chosen)
    return made._replace(level=_level(given, made.compression or "gzip"))


def _level(given: dict[str, str], compression: Compression) -> int | None:
    text = given.get("compression-level")
    if text is None:
        return None
    if not text.isascii() or not text.isdigit():
        raise UsageError(f"compression-level {text!r} is no number")
    # Refuses what the algorithm does not have.
    compressor(compression, int(text), lambda data: None).close()
    return int(text)


def checked_place(made: CachePlace, flag: str, text: str = "") -> CachePlace:
    """The place, if it has what its type needs: a slip is found before the build. Raises
    `UsageError`."""
    what = f"--{flag} {text}" if text else f"{flag.replace('-', '_')}, type={made.type},"
    if made.type == "inline" and flag == "cache-to":
        return made
    if (flag, made.type) not in _KEYS:
        raise UsageError(f"{what}: unknown type {made.type!r}", hint=f"write {_FORM[flag]}")
    if not (made.path if made.type == "local" else made.ref):
        raise UsageError(f"{what} names no place", hint=f"write {_FORM[flag]}")
    if made.type == "local":
        return made
    check_reference(made.ref, what, written=flag == "cache-to")
    return made


def _truth(given: dict[str, str], key: str, default: str = "false") -> bool:
    return truth(given.get(key, default), key)

"""Platforms: operating system, architecture and variant, as the OCI image spec writes them.

Comes in: text such as `linux/arm64/v8` or `amd64`. Goes out: normalised `Platform` values.
The aliases are those of containerd's platforms package (`x86_64` is `amd64`, `aarch64` is `arm64`).
"""

import os

from minibuild.errors import DefinitionError
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_ARCHITECTURES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
_SYSTEMS = {"macos": "darwin"}
_KNOWN_SYSTEMS = frozenset(
    (
        "aix android darwin dragonfly freebsd illumos ios js linux netbsd openbsd plan9 solaris "
        "wasip1 windows zos hurd nacl wasi"
    ).split()
)
_KNOWN_ARCHITECTURES = frozenset(
    (
        "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 "
        "mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm"
    ).split()
)


class Platform(NamedTuple):
    """`os/architecture[/variant]`; an empty variant is the architecture's baseline."""

    os: str
    architecture: str
    variant: str = ""

    def __str__(self) -> str:
        return "/".join(part for part in self if part)


def _normalise(system: str, architecture: str, variant: str) -> Platform:
    system = _SYSTEMS.get(system.lower(), system.lower())
    architecture, variant = architecture.lower(), variant.lower()
    if architecture in _ARCHITECTURES:
        architecture, implied = _ARCHITECTURES[architecture]
        variant = variant or implied
    if variant and variant[0].isdigit():
        variant = "v" + variant
    if architecture == "arm" and not variant:
        variant = "v7"
    if (architecture, variant) in (("arm64", "v8"), ("amd64", "v1")):
        variant = ""
    return Platform(system, architecture, variant)


_COMPONENT = regex("[A-Za-z0-9_.-]+")


def parse_platform(text: str, default: Platform | None = None) -> Platform:
    """The platform that `text` names; a missing half comes from `default` or this machine.

    Raises `DefinitionError` for text that names no platform.
    """
    own = default or host_platform()
    parts = text.strip().split("/")
    if len(parts) == 1 and (word := parts[0].lower()):
        if word in _KNOWN_SYSTEMS or word in _SYSTEMS:
            return _normalise(word, own.architecture, own.variant)
        if word in _KNOWN_ARCHITECTURES or word in _ARCHITECTURES:
            return _normalise(own.os, word, "")
    elif 2 <= len(parts) <= 3 and all(map(_COMPONENT.fullmatch, parts)):
        return _normalise(parts[0], parts[1], parts[2] if len(parts) == 3 else "")
    raise DefinitionError(
        f"failed to parse platform {text}: not an OS, an architecture, or OS/ARCH[/VARIANT]",
        hint="write it like linux/amd64 or linux/arm64/v8",
    )


def host_platform() -> Platform:
    """The platform of this machine's kernel."""
    return _normalise("linux", os.uname().machine, "")


def matches(wanted: Platform, offered: Platform) -> bool:
    """Whether an image for `offered` runs where `wanted` is asked for (same baseline or lower)."""
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return False
    if wanted.variant == offered.variant or not offered.variant:
        return True
    return wanted.architecture == "arm" and offered.variant <= wanted.variant

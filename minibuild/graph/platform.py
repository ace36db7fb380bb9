"""Platforms: operating system, architecture and variant, as the OCI image spec writes them.

Comes in: text such as `linux/arm64/v8`, `amd64` or `windows(10.0.17763)/amd64`. Goes out:
normalised `Platform` values. The grammar, the aliases (`x86_64` is `amd64`) and the rules for what
runs where are those of containerd's platforms package.
"""

import os
import re
from collections.abc import Iterable

from minibuild.errors import DefinitionError
from minibuild.graph.spelling import nearest
from minibuild.startup.regex import regex
from minibuild.startup.tuples import NamedTuple

_VARIANTS = {
    ("amd64", "v1"): "",
    ("arm64", "8"): "",
    ("arm64", "v8"): "",
    ("arm64", "v8.0"): "",
    ("arm64", "9"): "v9",
    ("arm64", "9.0"): "v9",
    ("arm64", "v9.0"): "v9",
    ("arm", ""): "v7",
    **{("arm", number): f"v{number}" for number in "5678"},
}
"""Variants that have another name, or are what the architecture means without one."""
_ARCHITECTURES = {"x86_64": "amd64", "x86-64": "amd64", "aarch64": "arm64"}
_WITH_VARIANT = {
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}
_SYSTEMS = {"macos": "darwin"}
_KNOWN_SYSTEMS = frozenset(
    (
        "aix android darwin dragonfly freebsd hurd illumos ios js linux nacl netbsd openbsd plan9 "
        "solaris windows zos"
    ).split()
)
_KNOWN_ARCHITECTURES = frozenset(
    (
        "386 amd64 amd64p32 arm armbe arm64 arm64be loong64 mips mipsle mips64 mips64le mips64p32 "
        "mips64p32le ppc ppc64 ppc64le riscv riscv64 s390 s390x sparc sparc64 wasm"
    ).split()
)


_ESCAPES = str.maketrans({c: f"%{ord(c):02X}" for c in "%+()/"})
"""What a version or a feature must not hold as it is, because it separates something."""

WINDOWS = "windows"


class Platform(NamedTuple):
    """`os/architecture[/variant]`; an empty variant is the architecture's baseline.

    Windows images are made for one `os_version`. `os_features` are sorted.
    """

    os: str
    architecture: str
    variant: str = ""
    os_version: str = ""
    os_features: tuple[str, ...] = ()

    def __str__(self) -> str:
        features = "".join(f"+{feature.translate(_ESCAPES)}" for feature in self.os_features)
        options = self.os_version.translate(_ESCAPES) + features
        system = f"{self.os}({options})" if options else self.os
        return "/".join(part for part in (system, self.architecture, self.variant) if part)

    @property
    def short(self) -> str:
        """Without the version and the features of the operating system."""
        return str(self._replace(os_version="", os_features=()))


def _normalise(system: str, architecture: str, variant: str = "") -> Platform:
    system = _SYSTEMS.get(system.lower(), system.lower())
    architecture, variant = architecture.lower(), variant.lower()
    if architecture in _WITH_VARIANT:
        architecture, variant = _WITH_VARIANT[architecture]
    architecture = _ARCHITECTURES.get(architecture, architecture)
    return Platform(system, architecture, _VARIANTS.get((architecture, variant), variant))


_COMPONENT = regex("[A-Za-z0-9_.-]+")
_OPTION = r"(?:[A-Za-z0-9_.-]|%[0-9A-Fa-f]{2})"
_SYSTEM = regex(
    r"(?P<os>[A-Za-z0-9_-]+)"
    rf"(?:\((?P<version>{_OPTION}*)(?P<features>(?:\+{_OPTION}+)*)\))?"
)


def parse_platform(text: str, default: Platform | None = None) -> Platform:
    """The platform that `text` names; a missing half comes from `default` or this machine.

    Raises `DefinitionError` for text that names no platform.
    """
    first, *rest = text.strip().split("/", 3)
    system = _SYSTEM.fullmatch(first)
    if system is None:
        raise _wrong(text, f'"{first}" is an invalid OS component of "{text}"')
    for part in rest:
        if not _COMPONENT.fullmatch(part):
            raise _wrong(text, f'"{part}" is an invalid component of "{text}"')
    if len(rest) > 2:
        raise _wrong(text, "cannot parse platform specifier")
    named = _normalise(system["os"], *rest) if rest else _half(text, system["os"], default)
    return named._replace(
        os_version=_unescaped(system["version"] or ""),
        os_features=sorted_features(map(_unescaped, (system["features"] or "").split("+"))),
    )


def _half(text: str, system: str, default: Platform | None) -> Platform:
    """The platform that just a system or an architecture means."""
    own = default or host_platform()
    if _normalise(system, "").os in _KNOWN_SYSTEMS:
        return _normalise(system, own.architecture, own.variant)
    named = _normalise(own.os, text.strip())
    if named.architecture not in _KNOWN_ARCHITECTURES:
        raise _wrong(text, "unknown operating system or architecture")
    return named


def misspelt(platform: Platform) -> str:
    """What was probably meant, if nothing knows such a system or architecture and one that is known
    has nearly that name; else nothing. Others may be right: there are new ones each year."""
    system, architecture = platform.os, platform.architecture
    if system not in _KNOWN_SYSTEMS:
        system = nearest(system, sorted(_KNOWN_SYSTEMS), most=2) or system
    if architecture not in _KNOWN_ARCHITECTURES:
        known = sorted(_KNOWN_ARCHITECTURES)
        architecture = nearest(architecture, known, most=2) or architecture
    meant = platform._replace(os=system, architecture=architecture)
    return "" if meant == platform else str(meant)


def _wrong(text: str, why: str) -> DefinitionError:
    return DefinitionError(
        f"failed to parse platform {text}: {why}: invalid argument",
        hint="write it like linux/amd64, linux/arm64/v8 or windows(10.0.17763)/amd64",
    )


def _unescaped(option: str) -> str:
    if "%" not in option:
        return option
    from urllib.parse import unquote  # which takes five milliseconds to load

    return unquote(option)


def sorted_features(features: Iterable[str]) -> tuple[str, ...]:
    """Features as a `Platform` has them: each once, in order."""
    return tuple(sorted({feature for feature in features if feature}))


def normalised(platform: Platform) -> Platform:
    """The platform under the names that this module gives; a config may have others."""
    named = _normalise(platform.os, platform.architecture, platform.variant)
    return named._replace(os_version=platform.os_version, os_features=platform.os_features)


def host_platform() -> Platform:
    """The platform of this machine's kernel."""
    return _normalise("linux", os.uname().machine)


def matches(wanted: Platform, offered: Platform) -> bool:
    """Whether an image for `offered` runs where `wanted` is asked for (same baseline or lower)."""
    if (wanted.os, wanted.architecture) != (offered.os, offered.architecture):
        return False
    features = set(offered.os_features) - set(wanted.os_features)
    if wanted.os == WINDOWS:
        features.discard("win32k")
        if not _runs_windows(wanted.os_version, offered.os_version):
            return False
    if features:
        return False
    if wanted.variant == offered.variant or not offered.variant:
        return True
    return wanted.architecture == "arm" and offered.variant <= wanted.variant


_STABLE_BUILDS = (20348, 26100)
"""Windows Server 2022 and 2025. From the first on, a host runs images of the one before, too."""


def _runs_windows(host: str, image: str) -> bool:
    """Whether a Windows of version `host` runs images made for version `image`."""
    wanted, offered = _windows_version(host), _windows_version(image)
    if not image or not any(wanted):
        return True
    if wanted[:2] != offered[:2]:
        return False
    if wanted[2] < _STABLE_BUILDS[0]:
        return wanted[2] == offered[2]
    oldest = max((b for b in _STABLE_BUILDS if b < wanted[2]), default=_STABLE_BUILDS[0])
    return oldest <= offered[2] <= wanted[2]


def _windows_version(text: str) -> tuple[int, int, int]:
    """Major, minor and build of a version; zeros if it has not all of them."""
    match = re.match(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,5})(?:\.|$)", text)
    return (int(match[1]), int(match[2]), int(match[3])) if match else (0, 0, 0)

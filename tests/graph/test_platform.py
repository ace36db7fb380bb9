"""Platforms as text, in both directions, and which image runs where."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.graph.image import platform_to_json
from minibuild.graph.platform import Platform, matches, misspelt, normalised, parse_platform
from minibuild.oci.model import parse_config

AMD64 = Platform("linux", "amd64")


@pytest.mark.parametrize(
    ("text", "expected", "canonical"),
    [
        ("linux/amd64", AMD64, "linux/amd64"),
        ("amd64", AMD64, "linux/amd64"),
        ("linux", AMD64, "linux/amd64"),
        ("Linux/X86_64", AMD64, "linux/amd64"),
        ("linux/amd64/v1", AMD64, "linux/amd64"),
        ("linux/amd64/v3", Platform("linux", "amd64", "v3"), "linux/amd64/v3"),
        ("linux/amd64/2", Platform("linux", "amd64", "2"), "linux/amd64/2"),
        ("aarch64", Platform("linux", "arm64"), "linux/arm64"),
        ("linux/arm64/v8", Platform("linux", "arm64"), "linux/arm64"),
        ("linux/arm64/9", Platform("linux", "arm64", "v9"), "linux/arm64/v9"),
        ("linux/arm", Platform("linux", "arm", "v7"), "linux/arm/v7"),
        ("linux/arm/6", Platform("linux", "arm", "v6"), "linux/arm/v6"),
        ("linux/armhf/v5", Platform("linux", "arm", "v7"), "linux/arm/v7"),
        ("armel", Platform("linux", "arm", "v6"), "linux/arm/v6"),
        ("linux/i386/x", Platform("linux", "386"), "linux/386"),
        ("macos/arm64", Platform("darwin", "arm64"), "darwin/arm64"),
        ("plan10/pdp11/x", Platform("plan10", "pdp11", "x"), "plan10/pdp11/x"),
        ("windows", Platform("windows", "amd64"), "windows/amd64"),
        (
            "windows(10.0.17763)",
            Platform("windows", "amd64", "", "10.0.17763"),
            "windows(10.0.17763)/amd64",
        ),
        (
            "Windows(10.0.17763.1+win32k)/arm64",
            Platform("windows", "arm64", "", "10.0.17763.1", ("win32k",)),
            "windows(10.0.17763.1+win32k)/arm64",
        ),
        (
            "linux(+b+a+b)/arm/v7",
            Platform("linux", "arm", "v7", "", ("a", "b")),
            "linux(+a+b)/arm/v7",
        ),
        ("freebsd(14%2B)/amd64", Platform("freebsd", "amd64", "", "14+"), "freebsd(14%2B)/amd64"),
        ("linux()/amd64", AMD64, "linux/amd64"),
    ],
)
def test_parse(text: str, expected: Platform, canonical: str) -> None:
    assert parse_platform(text, AMD64) == expected
    assert str(expected) == canonical
    assert parse_platform(canonical, AMD64) == expected


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "linux/", "/amd64", "linux/amd64/v1/x", "linux//v1", "nosuch", "linux amd64"),
        *("linux/amd(64)", "windows(10.0/amd64", "windows10.0)/amd64", "windows(10(0))/amd64"),
        *(
            "windows(1 0)/amd64",
            "windows(10)x/amd64",
            "(10)/amd64",
            "linux(%zz)/amd64",
            "li*/amd64",
        ),
        *("linux(a++b)/amd64", "linux(a+)/amd64", "wasip1"),
    ],
)
def test_what_is_no_platform(text: str) -> None:
    with pytest.raises(DefinitionError, match="failed to parse platform"):
        parse_platform(text, AMD64)


WORDS = st.text("ab0.-_", min_size=1, max_size=4)
OPTIONS = st.text("a0.%+()/ü", max_size=5)


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("linux/amd46", "linux/amd64"),
        ("liunx/arm64/v9", "linux/arm64/v9"),
        ("linux/amd64/v3", ""),
        ("wasi/wasm", ""),
        ("unknown/unknown", ""),
    ],
)
def test_misspelt(text: str, meant: str) -> None:
    assert misspelt(parse_platform(text)) == meant


@given(st.builds(Platform, WORDS, WORDS, WORDS, OPTIONS, st.just(())), st.sets(OPTIONS))
def test_text_and_json_lose_nothing(platform: Platform, features: set[str]) -> None:
    platform = normalised(platform._replace(os=platform.os.replace(".", "") or "x"))
    platform = platform._replace(os_features=tuple(sorted(features - {""})))
    data = json.dumps(platform_to_json(platform)).encode()
    assert parse_config(data).platform == platform
    if "ü" not in str(platform):
        assert parse_platform(str(platform)) == platform


@pytest.mark.parametrize(
    ("wanted", "offered", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v3", False),
        ("linux/amd64", "linux(5)/amd64", True),
        ("linux/amd64", "linux(+a)/amd64", False),
        ("linux(+a+b)/amd64", "linux(+a)/amd64", True),
        ("windows/amd64", "windows(10.0.17763.5)/amd64", True),
        ("windows(10.0.17763.1)/amd64", "windows(10.0.17763.5)/amd64", True),
        ("windows(10.0.17763.1)/amd64", "windows/amd64", True),
        ("windows(10.0.17763.1)/amd64", "windows(10.0.14393.5)/amd64", False),
        ("windows(10.0.20348)/amd64", "windows(10.0.17763)/amd64", False),
        ("windows(10.0.26100)/amd64", "windows(10.0.20348)/amd64", True),
        ("windows(10.0.22621)/amd64", "windows(10.0.20348)/amd64", True),
        ("windows(10.0.27000)/amd64", "windows(10.0.20348)/amd64", False),
        ("windows(10.0.27000)/amd64", "windows(10.0.26100)/amd64", True),
        ("windows(10.1.20348)/amd64", "windows(10.0.20348)/amd64", False),
        ("windows(ltsc)/amd64", "windows(10.0.20348)/amd64", True),
        ("windows/amd64", "windows(10.0.20348+win32k)/amd64", True),
        ("windows/amd64", "windows(10.0.20348+other)/amd64", False),
    ],
)
def test_what_runs_where(wanted: str, offered: str, fits: bool) -> None:
    assert matches(parse_platform(wanted), parse_platform(offered)) is fits

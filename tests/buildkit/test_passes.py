"""The list of BuildKit's tests that pass, and the program that compares a run with it."""

import json

from tests.buildkit import passes

LEAST = 341
"""How many tests pass at least. The number only grows."""


def events(*ended: tuple[str, str]) -> list[str]:
    package = "github.com/moby/buildkit/client"
    return [json.dumps({"Action": a, "Package": package, "Test": t}) for a, t in ended]


def test_what_a_run_says() -> None:
    """Parts of a test and other workers count with it."""
    found = passes.results(
        [
            "goos: linux",
            *events(
                ("pass", "TestIntegration/TestA/worker=oci"),
                ("pass", "TestIntegration/TestB/worker=oci/frontend=builtin"),
                ("fail", "TestIntegration/TestC/worker=oci/frontend=builtin/part"),
                ("fail", "TestIntegration/TestC/worker=oci/frontend=builtin"),
                ("pass", "TestIntegration/TestC/worker=oci/frontend=client"),
                ("run", "TestIntegration/TestD/worker=oci"),
                ("skip", "TestIntegration/TestE/worker=oci"),
                ("fail", "TestIntegration"),
            ),
            json.dumps({"Action": "fail", "Package": "p"}),
        ]
    )
    prefix = "client/TestIntegration/"
    assert found == {f"{prefix}TestA": True, f"{prefix}TestB": True, f"{prefix}TestC": False}
    before = [f"{prefix}TestC", f"{prefix}TestE", f"{prefix}TestB"]
    assert passes.compared(found, before) == ([f"{prefix}TestC"], [f"{prefix}TestA"])
    assert passes.added("# head\n\nb\na\n", ["c", "a"]) == "# head\n\na\nb\nc\n"


def test_the_list_only_grows() -> None:
    names = passes.known()
    assert names == sorted(set(names)) and len(names) >= LEAST

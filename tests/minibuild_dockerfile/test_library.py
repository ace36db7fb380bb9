"""The parser's library is loaded without what it does not need, and works all the same."""

import subprocess
import sys

PROGRAM = """\
import sys
{before}
from minibuild_dockerfile.library import parser_class
made = parser_class()
light = "logging" in sys.modules
import logging
print(light, hasattr(logging, "Handler"), made.__name__)
logging.basicConfig(stream=sys.stdout, format="%(name)s: %(message)s")
sys.modules["dockerfile_parse.parser"].logger.warning("heard")
"""


def _run(before: str) -> list[str]:
    command = [sys.executable, "-c", PROGRAM.format(before=before)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def test_without_logging() -> None:
    """`logging` is not loaded, can be loaded afterwards, and hears the library then."""
    assert _run("") == ["False True DockerfileParser", "dockerfile_parse.parser: heard"]


def test_with_logging() -> None:
    """Whoever has it loaded keeps it."""
    assert _run("import logging")[0] == "True True DockerfileParser"

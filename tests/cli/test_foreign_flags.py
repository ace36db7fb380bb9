"""Flags of other tools, and the pages for people who come from these.

The second columns of the tables are written from foreign_flags.toml:
`pytest --update-golden` does that again.
"""

import re
from functools import cache
from pathlib import Path

import pytest

from minibuild.cli.catalogue import ALIASES, CATALOGUE, parser_of
from minibuild.cli.foreign_flags import COMMANDS, FOREIGN, TOOLS
from minibuild.cli.main import entry
from tests.conftest import CHECKOUT, Golden

PAGES = {tool: CHECKOUT / f"docs/from-{tool}.md" for tool in TOOLS}
ROW = re.compile(r"^\| (`--?[A-Za-z-]+`(?:, `--?[A-Za-z-]+`)*) \| (.*) \|$", re.MULTILINE)
FLAG = re.compile(r"(?<![\w-])(--[A-Za-z][A-Za-z-]*|-[a-zA-Z])(?![\w-])")
# Of instructions, and of the programs of other people.
ELSEWHERE = {"--mount", "--security", "-E"}
KANIKO = """
azure-container-registry-config bucket build-arg cache cache-copy-layers cache-dir cache-repo
cache-run-layers cache-ttl cleanup compressed-caching compression compression-level context
context-sub-path custom-platform customPlatform destination digest-file dockerfile force
force-build-metadata git ignore-path ignore-var-run image-download-retry image-fs-extract-retry
image-name-tag-with-digest-file image-name-with-digest-file insecure insecure-pull insecure-registry
kaniko-dir label log-format log-timestamp no-push no-push-cache oci-layout-path
push-ignore-immutable-tag-errors push-retry registry-certificate registry-client-cert registry-map
registry-mirror reproducible single-snapshot skip-default-registry-fallback
skip-push-permission-check skip-tls-verify skip-tls-verify-pull skip-tls-verify-registry
skip-unused-stages snapshot-mode snapshotMode tar-path tarPath target use-new-run verbosity
whitelist-var-run
""".split()
"""All flags of the last version of kaniko, 1.24."""


@cache
def taken(command: str) -> frozenset[str]:
    """The flags that a command takes."""
    actions = parser_of(command)._actions
    return frozenset(name for action in actions for name in action.option_strings)


@cache
def all_taken() -> frozenset[str]:
    return frozenset().union(*map(taken, CATALOGUE)) | ELSEWHERE


@pytest.mark.parametrize("command", FOREIGN)
def test_none_is_both_taken_and_explained(command: str) -> None:
    assert not taken(command) & FOREIGN[command].keys()


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_not_here_leads_to_some_that_are(command: str) -> None:
    assert command not in {*CATALOGUE, *ALIASES}
    for first, second in re.findall(r"`minibuild ([a-z]+)(?: ([a-z]+))?", COMMANDS[command]):
        assert {first, f"{first} {second}"} & CATALOGUE.keys()


@pytest.mark.parametrize("flag", KANIKO)
def test_all_flags_of_kaniko_are_known(flag: str) -> None:
    name = f"--{flag}"
    assert name in taken("build") or name in FOREIGN["build"]


@pytest.mark.parametrize("command", FOREIGN)
def test_hints_name_what_there_is(command: str) -> None:
    """Flags of this program, and commands."""
    for flag, hint in FOREIGN[command].items():
        assert set(FLAG.findall(hint)) <= all_taken(), (flag, hint)
        for words in re.findall(r"`minibuild ((?:[a-z-]+ ?)+)", hint):
            assert is_command(words.split()), (flag, hint)


def is_command(words: list[str]) -> bool:
    """Whether these words begin with a command, or with a short name of one."""
    try:
        return entry([*words[:2], "--help"]) == 0 or entry([words[0], "--help"]) == 0
    except SystemExit as done:
        return not done.code


@pytest.mark.parametrize("command", FOREIGN)
def test_the_error_has_the_hint(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    for flag, hint in FOREIGN[command].items():
        value = [f"{flag}=x"] if flag.startswith("--") else [flag, "x"]
        assert entry([*command.split(), *value, "x", "x"]) == 2
        said = capsys.readouterr().err
        assert said.startswith(f"error: there is no flag {flag} here\nhint: "), said
        assert " ".join(hint.split()) in " ".join(said.split())


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_says_the_same(tool: str, golden: Golden) -> None:
    def row(found: re.Match[str]) -> str:
        names = re.findall(r"`([^`]+)`", found[1])
        hints = {FOREIGN["build"][name] for name in names if name in FOREIGN["build"]}
        if not hints:
            return found[0]
        [hint] = hints
        return f"| {found[1]} | {hint.replace('|', chr(92) + '|')} |"

    golden(PAGES[tool], ROW.sub(row, PAGES[tool].read_text()))


@pytest.mark.parametrize("tool", TOOLS)
def test_the_page_names_what_there_is(tool: str) -> None:
    """Each flag is taken, or refused with a hint; and the page has all that are refused."""
    page = PAGES[tool].read_text()
    same = page.partition("\nThe same: ")[2].partition(".\n")[0]
    rows = {name for found in ROW.finditer(page) for name in re.findall(r"`([^`]+)`", found[1])}
    known = set(FLAG.findall(same)) | rows
    assert set(FLAG.findall(same)) <= taken("build")
    assert rows <= taken("build") | FOREIGN["build"].keys()
    assert {name for name in TOOLS[tool] if name.startswith("--")} <= known
    if tool == "kaniko":
        assert {f"--{flag}" for flag in KANIKO} == known
    second = " ".join(found[2] for found in ROW.finditer(page))
    assert set(FLAG.findall(second)) - {"-f"} <= all_taken()


@pytest.mark.parametrize("page", [*PAGES.values()], ids=lambda p: Path(p).name)
def test_commands_of_the_page_are_there(page: Path) -> None:
    """What stands behind `minibuild` in a page."""
    for words in re.findall(r"(?:^ {4}|`)minibuild ((?:[a-z-]+ ?)+)", page.read_text(), re.M):
        assert is_command(words.split()), words

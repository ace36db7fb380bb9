"""`minibuild login` and `logout`, and the flags of all commands that talk to registries."""

import json
import os
import pty
import stat
import subprocess
import time
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path

import pytest

from minibuild.errors import RegistryError, UsageError
from minibuild.registry.credentials import Credentials, Login
from minibuild.registry.logins import LoginScope, drop, keep, parse_account
from tests.conftest import Cli
from tests.support.registry import PASSWORD, USER
from tests.support.registry import Registry as Server
from tests.support.waiting import PATIENCE_S

server = [pytest.mark.integration, pytest.mark.needs("docker-registry", "openssl")]

HELPER = """\
#!/bin/sh
# Keeps each login in a file; says of others what the real ones say.
folder=$(dirname "$0")/kept
mkdir -p "$folder"
case $1 in
store) cat >"$folder/new"; key=$(sed 's/.*"ServerURL": "\\([^"]*\\)".*/\\1/' "$folder/new")
    mv "$folder/new" "$folder/$(printf %s "$key" | tr / _)" ;;
get) read -r key; cat "$folder/$(printf %s "$key" | tr / _)" 2>/dev/null ||
    { echo "credentials not found in native keychain"; exit 1; } ;;
erase) read -r key; rm "$folder/$(printf %s "$key" | tr / _)" ;;
*) echo "what is $1?"; exit 1 ;;
esac
"""


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which the credential helper `tests` keeps logins."""
    program = tmp_path / "bin/docker-credential-tests"
    program.parent.mkdir()
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    return program.parent / "kept"


# --- What a registry is called --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "account", "key"),
    [
        ("", LoginScope("docker.io"), "https://index.docker.io/v1/"),
        ("docker.io", LoginScope("docker.io"), "https://index.docker.io/v1/"),
        ("https://index.docker.io/v1/", LoginScope("docker.io"), "https://index.docker.io/v1/"),
        ("one.example:5000", LoginScope("one.example:5000"), "one.example:5000"),
        ("HTTPS://x", None, ""),
        ("https://One.Example/v2/", LoginScope("one.example"), "one.example"),
        ("one.example/team/app", LoginScope("one.example", "team/app"), "one.example/team/app"),
        ("[::1]:5000", LoginScope("[::1]:5000"), "[::1]:5000"),
        ("ada@one.example", None, ""),
        ("one example", None, ""),
        ("one.example:port", None, ""),
    ],
)
def test_accounts(text: str, account: LoginScope | None, key: str) -> None:
    if account is None:
        with pytest.raises(UsageError, match="is no registry"):
            parse_account(text)
        return
    assert parse_account(text) == account
    assert account.key == key


# --- The file -------------------------------------------------------------------------------------


def test_the_rest_of_the_file_stays(tmp_path: Path) -> None:
    """It is Docker's: other logins, proxies, plugins; and a link to it stays one."""
    real, file = tmp_path / "real.json", tmp_path / "config.json"
    before = {"auths": {"two.example": {"auth": "eDp5"}}, "proxies": {"default": {}}, "psFormat": 1}
    real.write_text(json.dumps(before))
    file.symlink_to(real)
    account = LoginScope("one.example")
    assert keep(str(file), account, "ada", "a:b") == ""
    assert Credentials((str(file),)).login("one.example") == Login("ada", "a:b")
    assert json.loads(real.read_text()) == {
        **before,
        "auths": {**before["auths"], "one.example": {"auth": b64encode(b"ada:a:b").decode()}},  # type: ignore[dict-item]
    }
    assert file.is_symlink() and stat.S_IMODE(real.stat().st_mode) == 0o600
    assert drop(str(file), account) and not drop(str(file), account)
    assert json.loads(real.read_text()) == before
    assert sorted(os.listdir(tmp_path)) == ["config.json", "real.json"]


def test_a_file_and_its_folder_are_made(tmp_path: Path) -> None:
    file = tmp_path / ".docker/config.json"
    keep(str(file), LoginScope("one.example"), "ada", "b")
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_login_for_a_part_of_a_registry(tmp_path: Path) -> None:
    file = str(tmp_path / "auth.json")
    keep(file, parse_account("one.example/team"), "ada", "b")
    known = Credentials((file,))
    assert known.login("one.example", "team/app") == Login("ada", "b")
    assert known.login("one.example", "other/app") is None
    assert not drop(file, LoginScope("one.example"))
    assert drop(file, parse_account("one.example/team"))


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": 5}'])
def test_a_file_that_makes_no_sense_is_left_alone(text: str, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(RegistryError, match=r"config\.json"):
        keep(str(file), LoginScope("one.example"), "ada", "b")
    assert file.read_text() == text and os.listdir(tmp_path) == ["config.json"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RegistryError, match="cannot write") as caught:
        keep(str(tmp_path / "file/config.json"), LoginScope("one.example"), "ada", "b")
    assert "--authfile" in caught.value.hint


@pytest.mark.parametrize("key", ["credsStore", "credHelpers"])
def test_a_credential_helper_keeps_it(helper: Path, tmp_path: Path, key: str) -> None:
    file = tmp_path / "config.json"
    value = {key: "tests" if key == "credsStore" else {"one.example": "tests"}}
    file.write_text(json.dumps(value))
    account = LoginScope("one.example")
    assert keep(str(file), account, "ada", 'b"c') == "tests"
    assert json.loads(file.read_text()) == value, "the password is in the file"
    assert Credentials((str(file),)).login("one.example") == Login("ada", 'b"c')
    assert drop(str(file), account) and not drop(str(file), account)
    assert not os.listdir(helper)
    with pytest.raises(UsageError, match="one login for a whole registry"):
        keep(str(file), parse_account("one.example/team"), "ada", "b")


def test_a_helper_that_fails(tmp_path: Path, helper: Path) -> None:
    program = helper.parent / "docker-credential-tests"
    program.write_text("#!/bin/sh\necho 'the keychain is locked' >&2; exit 1\n")
    file = tmp_path / "config.json"
    file.write_text('{"credsStore": "tests"}')
    with pytest.raises(RegistryError, match="docker-credential-tests failed: the keychain is"):
        keep(str(file), LoginScope("one.example"), "ada", "b")


# --- The commands ---------------------------------------------------------------------------------


@pytest.fixture
def login(cli: Cli, tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """`login("word", ..., typed="text")` runs `minibuild login` with an empty home folder."""
    cli.environment["HOME"] = str(tmp_path / "home")

    def run(*words: str, typed: str = "", code: int = 0) -> subprocess.CompletedProcess[str]:
        command = [cli.program, "login", *words]
        done = subprocess.run(
            command, input=typed, env=cli.environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert "Traceback" not in done.stderr
        return done

    return run


class TestCommands:
    pytestmark = server

    def test_there_and_back(
        self,
        guarded: Server,
        cli: Cli,
        tmp_path: Path,
        login: Callable[..., subprocess.CompletedProcess[str]],
    ) -> None:
        """A login, a push and a pull under docker's names, a logout, a push that is refused."""
        file = tmp_path / "home/.docker/config.json"
        words = ("--tls-verify=false", "-u", USER, "--password-stdin", guarded.address)
        done = login(*words, typed=PASSWORD + "\n")
        assert done.stdout == "Login Succeeded\n"
        assert f"warning: the password is stored unencrypted in {file}" in done.stderr
        (tmp_path / "home").chmod(0o700)
        subprocess.run(["tar", "-C", tmp_path, "-cf", tmp_path / "x.tar", "home"], check=True)
        cli("import", str(tmp_path / "x.tar"), "x")
        name = f"{guarded.address}/login/x:1"
        cli("tag", "x", name)
        cli("push", "--tls-verify=false", name)
        cli("rmi", name)
        cli("pull", "--tls-verify=false", name)
        assert name in cli("images", "-q").stdout
        cli("save", "-o", str(tmp_path / "saved.tar"), name)
        assert name in cli("load", "-i", str(tmp_path / "saved.tar")).stdout
        out = cli("logout", guarded.address).stdout
        assert out == f"Removed the login for {guarded.address} from {file}\n"
        assert "Not logged in" in cli("logout", guarded.address).stderr
        denied = cli("push", "--tls-verify=false", name, code=4).stderr
        assert f"`minibuild login {guarded.address}`" in denied

    def test_a_wrong_password_is_not_kept(
        self,
        guarded: Server,
        token_registry: Server,
        tmp_path: Path,
        login: Callable[..., subprocess.CompletedProcess[str]],
    ) -> None:
        words = ("--tls-verify=false", "-u", USER, "-p", "wrong")
        done = login(*words, guarded.address, code=4)
        assert "does not take the login" in done.stderr
        assert "--password-stdin" in done.stderr
        login(*words, token_registry.address, code=4)
        assert not (tmp_path / "home").exists()

    def test_a_registry_with_tokens(
        self,
        token_registry: Server,
        tmp_path: Path,
        login: Callable[..., subprocess.CompletedProcess[str]],
    ) -> None:
        file = str(tmp_path / "auth.json")
        words = ("-u", USER, "--password-stdin", "--authfile", file, token_registry.address)
        login(*words, typed=PASSWORD)
        assert Credentials((file,)).login(token_registry.address) == Login(USER, PASSWORD)
        assert not (tmp_path / "home").exists()

    @pytest.mark.parametrize("words", ["-u x", "", "--password-stdin", "-u x:y -p z"])
    def test_words_that_do_not_say_who(
        self, words: str, login: Callable[..., subprocess.CompletedProcess[str]]
    ) -> None:
        assert login(*words.split(), "one.example", code=2).stderr.startswith(
            ("error: ", "warning: ")
        )

    def test_typed_at_a_terminal(self, guarded: Server, cli: Cli, tmp_path: Path) -> None:
        """The name is asked for, and the password, which is not shown."""
        command = [cli.program, "login", "--tls-verify=false", guarded.address]
        pid, terminal = pty.fork()
        if not pid:
            os.execve(cli.program, command, {**cli.environment, "HOME": str(tmp_path / "home")})
        said = b""
        for question, answer in ((b"Username: ", USER), (b"Password: ", PASSWORD)):
            deadline = time.monotonic() + PATIENCE_S
            while not said.endswith(question) and time.monotonic() < deadline:
                said += os.read(terminal, 1000)
            assert said.endswith(question)
            os.write(terminal, answer.encode() + b"\n")
        try:
            while data := os.read(terminal, 1000):
                said += data
        except OSError:  # the other end is closed
            pass
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, said
        os.close(terminal)
        assert b"Login Succeeded" in said and PASSWORD.encode() not in said


# --- Flags of other commands ----------------------------------------------------------------------


class TestFlags:
    pytestmark = server

    @pytest.fixture
    def context(self, tmp_path: Path) -> str:
        (tmp_path / "context").mkdir()
        (tmp_path / "context/Dockerfile").write_text("FROM scratch\nCOPY Dockerfile /\n")
        return str(tmp_path / "context")

    def test_creds_are_for_one_registry(self, guarded: Server, cli: Cli, context: str) -> None:
        """The one that the command line names; where that is none, or several, it says so."""
        creds = ("--creds", f"{USER}:{PASSWORD}", "--tls-verify=false")
        name = f"{guarded.address}/flags/creds:1"
        cli("build", "-t", name, "--push", *creds, context)
        cli("pull", *creds, name)
        cli("image", "config", "--label", "a=b", "--push", *creds, name, f"{name}1")
        cli("image", "copy", *creds, name, f"{guarded.address}/flags/copied:1")
        cli("image", "index", *creds, "--push", f"{guarded.address}/flags/index:1", name)
        denied = cli("push", "--tls-verify=false", name, code=4).stderr
        assert "there is no login" in denied
        several = cli("build", "-t", name, "-t", "x.example/a", "--push", *creds, context, code=2)
        assert f"one registry, and these are {guarded.address}, x.example" in several.stderr
        none = cli("build", *creds, context, code=2)
        assert "the command line names none" in none.stderr
        assert "write --creds USER:PASSWORD" in cli("push", "--creds", ":x", name, code=2).stderr

    def test_a_file_of_logins(
        self, guarded: Server, cli: Cli, context: str, tmp_path: Path
    ) -> None:
        """It takes the place of all others."""
        file = tmp_path / "auth.json"
        keep(str(file), LoginScope(guarded.address), USER, PASSWORD)
        flags = ("--authfile", str(file), "--tls-verify=false")
        name = f"{guarded.address}/flags/file:1"
        cli("build", "-t", name, "--push", *flags, context)
        # As a base, which only the Dockerfile names.
        (tmp_path / "context/Dockerfile").write_text(f"FROM {name}\nCOPY Dockerfile /two\n")
        cli("prune", "-a", "-f")
        cli("build", *flags, context)
        cli("build", "--pull", *flags, context)
        assert "there is no file" in cli("build", "--authfile", "/none", context, code=2).stderr

    def test_the_web_is_no_registry(self, guarded: Server, cli: Cli, tmp_path: Path) -> None:
        """Certificates of what ADD fetches are checked all the same."""
        (tmp_path / "Dockerfile").write_text(f"FROM scratch\nADD https://{guarded.address}/ /x\n")
        said = cli("build", "--tls-verify=false", str(tmp_path), code=4).stderr
        assert "cannot be trusted" in said

    def test_without_push_they_have_no_use(self, cli: Cli) -> None:
        for flag in ("--insecure", "--tls-verify=false", "--creds=a:b", "--authfile=x"):
            said = cli("image", "config", "--label=a=b", flag, "a", "b", code=2).stderr
            assert f"{flag.partition('=')[0]} is about registries, and is of use with" in said


def test_a_password_is_not_shown() -> None:
    """In a traceback, or where a program prints its request."""
    from minibuild.session.request import RegistryAccess

    shown = repr(RegistryAccess(passwords={"one.example": ("ada", "the secret")}))
    assert "secret" not in shown and "stall_s=30" in shown

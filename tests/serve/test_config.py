"""Settings of BuildKit's daemon, as far as they mean something here."""

from pathlib import Path

import pytest

from minibuild.errors import UsageError
from minibuild.registry.hosts import read_rules
from minibuild.serve.config import daemon_config
from minibuild.session.environment import Environment


def test_registries_entitlements_and_labels(tmp_path: Path) -> None:
    path = tmp_path / "buildkitd.toml"
    path.write_text(
        'debug = true\ninsecure-entitlements = ["network.host"]\n'
        '[worker.oci]\ngc = false\n[worker.oci.labels]\na = "b"\n'
        '[registry."docker.io"]\nmirrors = ["localhost:5000", "m.example/hub"]\nca = ["a.pem"]\n'
        '[registry."localhost:5000"]\nhttp = true\n'
    )
    made = daemon_config(str(path), str(tmp_path / "root"), Environment({"X": "1"}, 0))
    assert made.entitlements == {"network.host"} and made.labels == {"a": "b"}
    assert made.environment.variables["X"] == "1"
    hub, local = read_rules(made.environment.variables["MINIBUILD_CONFIG"])
    assert hub.prefix == "docker.io" and hub.ca == str(tmp_path / "a.pem")
    assert hub.mirrors == ("http://localhost:5000", "m.example/hub") and not hub.insecure
    assert local.prefix == "localhost:5000" and local.insecure


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a =", "is not TOML"),
        ("registry = 1", "registry is not a table"),
        ("insecure-entitlements = 1", "is not a list"),
        ('[registry.x]\nca = ["a", "b"]', "has 2 files in ca"),
    ],
)
def test_settings_that_make_no_sense(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "buildkitd.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=message):
        daemon_config(str(path), str(tmp_path), Environment({}, 0))


def test_no_settings(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot read"):
        daemon_config(str(tmp_path / "no"), str(tmp_path), Environment({}, 0))

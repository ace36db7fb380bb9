"""--chmod: a table, and chmod(1) as the judge of what both read alike."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minibuild.errors import DefinitionError
from minibuild.graph.mode import parse_mode


@pytest.mark.parametrize(
    ("text", "before", "after"),
    [
        ("0", 0o777, 0),
        ("600", 0o777, 0o600),
        ("00000600", 0o777, 0o600),
        ("04755", 0o644, 0o4755),
        ("7777", 0, 0o7777),
        ("+x", 0o644, 0o755),
        ("+w", 0o444, 0o666),
        ("-w", 0o666, 0o444),
        ("a+w", 0o444, 0o666),
        ("g=u", 0o644, 0o664),
        ("g=ru", 0o310, 0o330),
        ("g+ru", 0o310, 0o370),
        ("g=ur", 0o310, 0o340),
        ("u=rwX,go=rX", 0o600, 0o644),
        ("u=rwX,go=rX", 0o700, 0o755),
        ("a-w,u+s", 0o755, 0o4555),
        ("go-rwx", 0o755, 0o700),
        ("u+x,go=", 0o644, 0o700),
        ("u=", 0o4755, 0o055),
        ("=r", 0o4777, 0o444),
        ("=r", 0o7777, 0o1444),
        ("=", 0o7777, 0o1000),
        ("a=", 0o7777, 0o1000),
        ("+", 0o640, 0o640),
        ("u+r-w+x", 0o200, 0o500),
        ("-x+X", 0o755, 0o755),
        ("=rX", 0o710, 0o555),
        # The sticky bit belongs to all who are not just the others.
        ("u+t", 0o755, 0o1755),
        ("g+t", 0o755, 0o1755),
        ("a+t", 0o755, 0o1755),
        ("+t", 0o755, 0o1755),
        ("o+t", 0o755, 0o755),
        ("o=t", 0o755, 0o750),
        ("o-t", 0o1755, 0o1755),
        ("uo+t", 0o755, 0o1755),
        ("u=t", 0o755, 0o1055),
        ("u-t", 0o1755, 0o755),
        ("=t", 0o4755, 0o5755),
        ("+rt", 0o700, 0o1700),
        ("+tr", 0o700, 0o1700),
        ("+r+t", 0o700, 0o1744),
        ("u+s", 0o755, 0o4755),
        ("g+s", 0o755, 0o2755),
        ("o+s", 0o755, 0o755),
        ("+s", 0o755, 0o6755),
        ("=s", 0o755, 0o6000),
    ],
)
def test_of_a_file(text: str, before: int, after: int) -> None:
    assert oct(parse_mode(text).apply(stat.S_IFREG | before)) == oct(after)


def test_of_a_directory() -> None:
    rule = parse_mode("u=rwX,go=rX")
    assert rule.apply(stat.S_IFDIR | 0o600) == 0o755
    assert rule.apply(stat.S_IFDIR | 0o2700) == 0o755
    assert parse_mode("g=rx").apply(stat.S_IFDIR | 0o2777) == 0o757
    assert parse_mode("g-s").apply(stat.S_IFDIR | 0o2777) == 0o777
    assert parse_mode("-x+X").apply(stat.S_IFDIR | 0o600) == 0o711


@pytest.mark.parametrize(("text", "mode"), [("4755", 0o755), ("600", 0o600), ("go-rwx", 0o755)])
def test_of_made_directories(text: str, mode: int) -> None:
    assert parse_mode(text).made_mode == mode


@pytest.mark.parametrize(
    "text",
    [
        *("rwx", "77777", "8", "0o755", "7_5", "1e1", "٧", "+755", "-1", "0x1", " 755", "755 "),
        *("u", "u=rw,", ",u=rw", "u=rw,,g=r", "x+r", "u+z", "u=r w", "ugo", ""),
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(DefinitionError, match="invalid"):
        parse_mode(text)


@pytest.mark.skipif(shutil.which("chmod") is None, reason="needs chmod")
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    clauses=st.lists(
        st.tuples(
            st.text("ugoa", min_size=1, max_size=3),
            st.lists(
                st.tuples(
                    st.sampled_from("+-="), st.sampled_from("ugo") | st.text("rwx", max_size=4)
                ),
                min_size=1,
                max_size=3,
            ),
        ),
        min_size=1,
        max_size=3,
    ),
    before=st.integers(0, 0o777),
    directory=st.booleans(),
)
def test_agrees_with_chmod_about_permissions(
    tmp_path: Path,
    clauses: list[tuple[str, list[tuple[str, str]]]],
    before: int,
    directory: bool,
) -> None:
    text = ",".join(who + "".join(op + what for op, what in acts) for who, acts in clauses)
    path = tmp_path / ("d" if directory else "f")
    if directory:
        path.mkdir(exist_ok=True)
    else:
        path.touch()
    os.chmod(path, before)
    start = os.lstat(path).st_mode  # the kernel may have dropped a bit
    subprocess.run(
        ["sh", "-c", 'umask 022; chmod -- "$1" "$2"', "sh", text, path],
        check=False,
        stderr=subprocess.DEVNULL,
    )
    expected = stat.S_IMODE(os.lstat(path).st_mode)
    os.chmod(path, 0o700)
    assert oct(parse_mode(text).apply(start)) == oct(expected), text

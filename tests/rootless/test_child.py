"""What becomes of an exception on its way to the caller's process."""

import pickle
import threading

from minibuild.errors import StepFailed
from minibuild.linux.rpc import portable
from minibuild.rootless.child import noted


def raised(error: Exception) -> Exception:
    try:
        raise error
    except Exception as caught:
        return pickle.loads(pickle.dumps(portable(noted(caught))))  # type: ignore[no-any-return]


def test_it_keeps_its_type_and_says_where_it_happened() -> None:
    found = raised(KeyError("x"))
    assert type(found) is KeyError and found.args == ("x",)
    assert "KeyError: 'x'" in found.__notes__[0] and "test_child.py" in found.__notes__[0]


def test_what_cannot_travel_is_told_as_text() -> None:
    class Local(Exception):
        pass

    for error in (Local("words"), ValueError(threading.Lock())):
        found = raised(error)
        assert type(found) is RuntimeError
        assert type(error).__name__ in str(found) and "test_child.py" in str(found)


def test_typed_errors_travel() -> None:
    found = pickle.loads(pickle.dumps(StepFailed("m", code=3, hint="h")))
    assert (type(found), str(found), found.code, found.hint) == (StepFailed, "m", 3, "h")

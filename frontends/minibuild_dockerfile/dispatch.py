"""From an instruction to the function that carries it out.

Comes in: a stage and any instruction but FROM. Goes out: the stage, changed.
Read next: `config`, `run`, `copy`.
"""

from collections.abc import Callable
from typing import Any

from minibuild_dockerfile import config
from minibuild_dockerfile import instructions as words
from minibuild_dockerfile.copy import copy_or_add
from minibuild_dockerfile.instructions import Instruction
from minibuild_dockerfile.run import run
from minibuild_dockerfile.state import StageState

_BY_TYPE: dict[type[Any], Callable[[StageState, Any], None]] = {
    words.Arg: config.arg,
    words.Env: config.env,
    words.Label: config.label,
    words.Maintainer: config.maintainer,
    words.Workdir: config.workdir,
    words.User: config.user,
    words.Copy: copy_or_add,
    words.Add: copy_or_add,
    words.Run: run,
    words.Cmd: config.cmd,
    words.Entrypoint: config.entrypoint,
    words.Expose: config.expose,
    words.Volume: config.volume,
    words.Stopsignal: config.stopsignal,
    words.Shell: config.shell,
    words.Healthcheck: config.healthcheck,
    words.Onbuild: config.onbuild,
}


def dispatch(state: StageState, instruction: Instruction) -> None:
    """Carry out one instruction in a stage."""
    _BY_TYPE[type(instruction)](state, instruction)

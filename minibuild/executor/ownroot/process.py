"""The process of a step in the container's own root, from its birth to its program.

Comes in: a request, in a process that the keeper has forked when the tree is "/". Goes out: never;
it executes the program, or tells the executor why it cannot. See `executor.child`, which does the
same in namespaces.
"""

import os
import signal
from typing import NoReturn

from minibuild.executor import program
from minibuild.executor.child import become, enter_directory
from minibuild.executor.users import lookup_user
from minibuild.executor.wire import Ready, Request, Terminal, pack
from minibuild.linux import capabilities, capability_sets, syscalls
from minibuild.linux.channel import Channel
from minibuild.linux.dispositions import restore_defaults, restore_ignored_by_python


def start(request: Request, channel: Channel) -> NoReturn:
    """Become the program of the step."""
    step = request.step
    restore_defaults()
    syscalls.prctl(syscalls.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    if step.limits:
        from minibuild.executor import limits

        limits.apply(step.limits)
    root_fd = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    user = lookup_user(root_fd, step.user)
    if step.tty:
        from minibuild.executor.terminal import take

        master = take(*step.tty_size, console=False)
        channel.send(pack(Terminal()), (master,))
        os.close(master)
    os.umask(0)
    enter_directory(step.cwd, user)
    env = dict(step.env)
    env.setdefault("HOME", user.home)
    capability_sets.bound(capabilities.mask(capabilities.SANDBOX))
    capability_sets.inherit_none()
    channel.send(pack(Ready()))
    become(user, single_id=False, keep_capabilities=False)
    os.umask(0o022)
    restore_ignored_by_python()
    program.execute(step.args, env)

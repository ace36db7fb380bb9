"""A terminal for a step, out of its own devpts. See pts(4), ioctl_tty(2)."""

import fcntl
import os
import termios

from minibuild.executor.wire import Terminal, pack
from minibuild.linux import syscalls
from minibuild.linux.channel import Channel

_CONSOLE = "/dev/console"


def give(channel: Channel, size: tuple[int, int], *, console: bool = True) -> None:
    """Make a new terminal that of this session, on descriptors 0 to 2 and as /dev/console, if that
    is the step's own; send its controlling end over the channel."""
    master, slave = os.openpty()
    termios.tcsetwinsize(slave, size)
    if console:
        os.close(os.open(_CONSOLE, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600))
        syscalls.mount(os.ttyname(slave), _CONSOLE, flags=syscalls.MS_BIND)
    for standard in range(3):
        os.dup2(slave, standard)
    os.close(slave)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    channel.send(pack(Terminal()), (master,))
    os.close(master)


def copy_size(source: int, master: int) -> None:
    """Make a terminal as large as another one. The kernel informs its programs, by SIGWINCH, if
    that changes anything."""
    try:
        size = termios.tcgetwinsize(source)
        if size != termios.tcgetwinsize(master):
            termios.tcsetwinsize(master, size)
    except termios.error:
        pass  # The source is no terminal.

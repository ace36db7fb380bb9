"""The base of all that answers calls about identities and owners: what they work with.

Read next: `id_calls`, `chown_calls`, `creating_calls`, `guards`, `stat_calls`,
`device_calls`: the kinds of such calls.
"""

from minibuild.executor.listener import process
from minibuild.executor.listener.file_owners import FileOwners
from minibuild.executor.listener.notifications import Notification, Notifications
from minibuild.executor.listener.permissions import Permissions
from minibuild.executor.listener.process import Processes
from minibuild.linux.descriptors import closing_fd


class IdentityCalls:
    """What all of them work with."""

    __slots__ = ("_notifications", "_owned", "_permissions", "_processes")

    def __init__(
        self,
        notifications: Notifications,
        processes: Processes,
        owned: FileOwners,
        permissions: Permissions,
    ) -> None:
        self._notifications = notifications
        self._processes = processes
        self._owned = owned
        self._permissions = permissions

    def _write(self, call: Notification, *pieces: tuple[int, bytes]) -> bool:
        """Write each piece to its address in the memory of the process. False if that cannot be, or
        if it does not wait any more."""
        with closing_fd(process.open_memory(call.pid)) as fd:
            # In this order: what is open is the memory of one process, whatever its number becomes,
            # and of the right one if it still waits now.
            return self._notifications.valid(call) and all(
                process.write(fd, address, data) for address, data in pieces
            )

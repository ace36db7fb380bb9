"""What answers calls whose outcome depends on who a process is to itself, and on recorded owners.

Read next: `ids`, `owners`, `creations`, `guards`: four kinds of such calls.
"""

from minibuild.executor.listener.identities import Identities
from minibuild.executor.listener.notifications import Notifications
from minibuild.executor.listener.owned import Owned
from minibuild.executor.listener.permissions import Permissions
from minibuild.executor.listener.process import Processes


class IdentityCalls:
    """What all of them work with."""

    __slots__ = ("_identities", "_notifications", "_owned", "_permissions", "_processes")

    def __init__(
        self,
        notifications: Notifications,
        processes: Processes,
        identities: Identities,
        owned: Owned,
        permissions: Permissions,
    ) -> None:
        self._notifications = notifications
        self._processes = processes
        self._identities = identities
        self._owned = owned
        self._permissions = permissions

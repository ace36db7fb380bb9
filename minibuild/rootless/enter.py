"""The privileges that the engine needs: root, or a user namespace of one's own.

A process can enter one only while it has a single thread, and stays in it for the rest of its
life; a command of the command line has no other plans. See `minibuild.linux.namespace`.

Where there is none to be had, as in most containers, the process stays what it is, and does all
that takes no process of the image: everything but RUN. Its snapshots are copies then, for it may
not mount, and as an ordinary user it notes down the owners that it cannot give.
"""

from importlib import import_module

from minibuild.linux.namespace import NamespaceRefused, needs_user_namespace

SINGLE_ID = "this account has one id: owners are recorded, but a RUN may change files of them all"
NO_NAMESPACES = "there are no namespaces here: everything works but a RUN that is not cached"


def enter(loads: str = "") -> str:
    """Enter a user namespace if the engine cannot work without. Raises `HostError`.

    The programs that map the ids take a few milliseconds. A module that the caller needs next,
    `loads`, is imported meanwhile. Returns a sentence about what is limited there, or nothing.
    """
    if not needs_user_namespace():
        return ""
    from minibuild.linux.idmap import plan_id_maps
    from minibuild.linux.namespace import enter_user_namespace

    plan = plan_id_maps()
    enter_user_namespace(plan, lambda: loads and import_module(loads))
    return SINGLE_ID if plan.way == "single" else ""


def enter_if_possible(loads: str = "") -> str:
    """The same, but stay outside where there is no user namespace to be had."""
    try:
        return enter(loads)
    except NamespaceRefused:
        from minibuild.executor.isolation import OWN_ROOT, takes_own_root

        return OWN_ROOT if takes_own_root("auto") else NO_NAMESPACES

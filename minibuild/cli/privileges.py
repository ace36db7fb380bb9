"""The privileges that the engine needs: root, or a user namespace of one's own.

A process can enter one only while it has a single thread, and stays in it for the rest of its
life; a command of the command line has no other plans. See `minibuild.linux.namespace`.
"""


def enter() -> None:
    """Enter a user namespace if the engine cannot work without. Raises `HostError`."""
    from minibuild.linux.namespace import needs_user_namespace

    if needs_user_namespace():
        from minibuild.linux.idmap import plan_id_maps
        from minibuild.linux.namespace import enter_user_namespace

        enter_user_namespace(plan_id_maps())

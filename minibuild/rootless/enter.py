"""The privileges that the engine needs: root, or a user namespace of one's own.

A process can enter one only while it has a single thread, and stays in it for the rest of its
life; a command of the command line has no other plans. See `minibuild.linux.namespace`.
"""


def enter() -> str:
    """Enter a user namespace if the engine cannot work without. Raises `HostError`.

    Returns a sentence about what is limited there, or nothing.
    """
    from minibuild.linux.namespace import needs_user_namespace

    if not needs_user_namespace():
        return ""
    from minibuild.linux.idmap import plan_id_maps
    from minibuild.linux.namespace import enter_user_namespace

    plan = plan_id_maps()
    enter_user_namespace(plan)
    if plan.way != "single":
        return ""
    return "this account has one id: all files belong to root, USER and --chown have no effect"

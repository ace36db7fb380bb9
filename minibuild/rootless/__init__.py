"""Builds without root: the user namespace that the engine needs, and how a caller gets into one.

A process can enter a user namespace only while it has one thread, and it stays there. The command
line enters one itself. A Python program cannot be asked to, so a process of ours does it in its
place: the program is the parent, and the build runs in the child. Comes in: a request. Goes out:
what the build came to, and its events on the way.
Read in this order: `enter`, `parent`, `child`; then `linux.namespace`.
"""

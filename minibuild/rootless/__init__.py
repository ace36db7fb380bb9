"""Builds without root: the user namespace that the engine needs, and how a caller gets into one.

A process can enter a user namespace only while it has one thread, and it stays there. The command
line enters one itself. A Python program may have threads, so minibuild starts a child process,
which enters the namespace and builds; the program is the parent. Comes in: a request. Goes out: the
result of the build, and its events.
Read in this order: `enter`, `parent`, `child`; then `linux.namespace`.
"""

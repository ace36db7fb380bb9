"""A build sent to a BuildKit: `build --builder ADDRESS`.

Comes in: a request. Goes out: the same build, done by a daemon elsewhere. The frontend is
minibuild's: the graph goes there as LLB. Folders, secrets, agents and logins are provided in a
session, and the outputs come back through it. Needs the Python packages hpack and protobuf, which
the extra `minibuild[buildkit]` brings. Read next: `remote`, which does such a build.
"""

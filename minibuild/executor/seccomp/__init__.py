"""Which system calls a step may make: the policy as data, and the filter made from it.

Read in this order: `policy`, `program`.
"""

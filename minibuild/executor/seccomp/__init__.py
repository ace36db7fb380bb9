"""Which system calls a step may make: the policy as data, and the filter made from it.

Comes in: the policy, and what this machine can do. Goes out: a program for the kernel.
Read in this order: `policy`, `program`.
"""

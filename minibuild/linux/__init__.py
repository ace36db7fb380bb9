"""What the kernel offers and Python's `os` does not: mounts, namespaces, safe paths, attributes.

Comes in: paths, descriptors, ids. Goes out: what the kernel did, or a typed error that says which
call failed. The only user of ctypes, and of pyxattr. Nothing here knows what a build is.
Read in this order: `syscalls`, `cursor` and `beneath` (paths inside a root that others wrote),
`tree_writer` (how entries of a tree are made, and in which order of calls) and `contents`, `owner`,
`xattr`, `device`, `idmap` and `namespace` (a user namespace), `cgroup` and `resources`, `probe`
(what this machine can do).
"""

"""Kinds of containers, what is built in them, and whether the images are those of a host with
namespaces.

`python -m tests.pods` makes the table of docs/ci.md; a few of its cells are in
tests/integration/test_own_root.py.
"""

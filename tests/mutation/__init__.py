"""Mutations: small defects put into the code one by one, to see whether the tests notice.

    python -m tests.mutation minibuild/graph/pattern.py --tests tests/graph

Comes in: modules, and the tests that should know them. Goes out: a line for each mutant that
survived, and how many of all were killed. Not part of `make test`: it takes minutes.
Read in this order: `mutants` (what is changed), `runner` (which tests run on a mutant, and how).
"""

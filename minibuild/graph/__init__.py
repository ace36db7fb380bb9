"""The graph of a build: pure, frozen data. Frontends make it, the solver reads it.

Read in this order: `op`, `vertex`, `image`, `frontend`.
"""

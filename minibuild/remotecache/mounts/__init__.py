"""Cache mounts that travel: directories of RUN --mount=type=cache, to other machines and back.

Loaded only by builds that ask for it. Read `artifact` first: it says what travels; then `arriving`
and `leaving`, the two halves of a build that has to do with it.
"""

"""The engine's side of frontends: finding one, and giving it what it reads.

Comes in: a request. Goes out: the definition's text, the contexts with their ignore patterns, and
the frontend that reads them.
Read in this order: `definition`, `remote_context`, `loader`, `bridge`, `epoch`, `graph`,
`policies`, `subrequests`.
"""

"""What keeps the start of the program short, measured in docs/performance.md.

Comes in: definitions of data types, and patterns. Goes out: the same types at a sixth of the cost,
and expressions that are compiled at their first use.
Read in this order: `tuples`, `regex`, `code_cache`.
"""

"""What keeps the start of the program short, measured in docs/performance.md.

`tuples` defines data types at a sixth of the cost; `regex` compiles expressions at their first use.
"""

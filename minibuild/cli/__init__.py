"""The command line: words in, exit code out.

Comes in: argv and the environment (`environment` is the only reader of it). Goes out: a
`BuildRequest` or another call into the engine, text for people, and a number for the shell.
Everything that a command line can do, a Python program can do without it.
Read in this order: `main`, `build`, `attributes`, `errors`.
"""

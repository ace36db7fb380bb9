"""What a build reports, shown to people and programs: text, bars, JSON lines, or nothing.

Comes in: the events of `minibuild.events`. Goes out: characters on a stream. Every renderer is a
`trace.Renderer`; none of them can change what a build does.
Read in this order: `console`, `lines`, `trace`, `plain`, `tty`, `select`.
"""

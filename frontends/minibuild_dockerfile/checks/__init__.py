"""Build checks: remarks about a Dockerfile that is right and yet not as it should be.

Comes in: a Dockerfile, and what converting it came to. Goes out: findings, each with its rule and
its lines.
Read in this order: `rules` (what is checked), `report` (what is skipped, what is an error),
`written` (rules that look at the text alone), `teaching` (rules of our own, on request). The other
rules are reported where the code that converts an instruction meets them.
"""

"""System calls of a step that the kernel hands over to us, and what is answered.

In a user namespace no process may make a device, and in one with a single id no file can get
another owner and no process another user. So these calls are answered here.

Comes in: a filter's descriptor, and the calls that the kernel sends through it. Goes out: an answer
to each. What was wanted is recorded, and told to those who ask. Read in this order: `calls`,
`notifications`, `process`, `identity`, `identities`, then `answers`, the table of who checks and
who answers what, and `listener`, which goes by it.
"""

"""System calls of a step that the kernel hands to minibuild, and the answers.

In a user namespace no process may make a device, and in one with a single id no file can get
another owner and no process another user. So these calls are answered here.

Comes in: a filter's descriptor, and the calls that the kernel sends through it. Goes out: an answer
to each. The owner or user that a call asked for is recorded, and later calls get it as their
answer. Read in this order: `calls`, `notifications`, `process`, `identity`, `identities`, then
`answers`, the table of checks and answers for each call, and `listener`, which uses it.
"""

"""What a caller asks of a build, and what it provides: options, secrets, ssh agents.

Comes in: the caller's values. Goes out: a `BuildRequest`, and the means to get a secret's value or
an agent's socket while the build runs. BuildKit calls the connection that serves these a session.
Read in this order: `request`, `environment`, `registries`, `secrets`, `ssh_agent`, `key_agent`,
`scratch`, `memory`.
"""

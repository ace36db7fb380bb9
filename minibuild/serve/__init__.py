"""A builder for BuildKit's clients: `docker buildx`, `docker compose build`, `buildctl`.

Comes in: their calls, on a unix socket. Goes out: builds, each in a process of its own. A client
does not send a build in one call. It opens a *session*, in which the builder calls the client for
files, secrets and logins. It asks the gateway (`LLBBridge`) to solve a Dockerfile, and returns the
answer to it. Meanwhile another call (`Solve`) waits for the outputs. Needs the Python packages
hpack and protobuf, which the extra `minibuild[buildkit]` brings. Read next: `server`, then
`control` and `bridge`, the two services.
"""

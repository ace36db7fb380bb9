"""The words of flags as values of a request: `type=oci,dest=x`, `id=a,src=f`, `linux/amd64`.

Comes in: the text of one flag, as `docker buildx build` takes it. Goes out: a value of
`session.request`, or a `UsageError` that says how to write it. The command line and the Python API
both use this package. buildx has a package of the same name and purpose.
Read in this order: `attributes`, `resources`, `places`, `attest`, `secret`.
"""

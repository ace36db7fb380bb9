"""What a client may rely on, by BuildKit's names.

What is not here a client refuses by itself, with a good error: so a name stands here when all of it
works. Rules: moby/buildkit `solver/pb/caps.go`, `frontend/gateway/pb/caps.go`.
Read next: `bridge`.
"""

FRONTEND_CAPS = """
    solve.base return returnmap proto.refarray reference.output
    resolveimage resolveimage.resolvemode
    source.metaresolver source.metaresolver.image.attestations
    readfile readdir statfile
    frontend.inputs frontend.caps importcaches
    gateway.evaluate gateway.solve.evaluate gateway.solve.metadata gateway.warnings
""".split()
"""Calls of the gateway."""

# BuildKit itself spells one of them "soruce".
LLB_CAPS = """
    constraints platform meta.description meta.ignorecache

    source.image source.image.resolvemode
    source.local source.local.differ source.local.excludepatterns source.local.followpaths
    source.local.includepatterns source.local.sessionid source.local.sharedkeyhint
    source.local.unique source.ocilayout
    source.http source.http.auth source.http.checksum source.http.header source.http.perm
    soruce.http.uidgid
    source.git source.git.checksum source.git.fullurl source.git.httpauth source.git.keepgitdir
    source.git.mountsshsock source.git.skipsubmodules source.git.subdir

    exec.cgroup exec.meta.base exec.meta.linux.resources exec.meta.network exec.meta.proxyenv
    exec.meta.removemountstubs.recursive exec.meta.security exec.meta.setsdefaultpath
    exec.meta.ulimit exec.mount.bind exec.mount.bind.readwrite-nooutput
    exec.mount.cache exec.mount.cache.sharing exec.mount.secret exec.mount.selector exec.mount.ssh
    exec.mount.tmpfs exec.mount.tmpfs.size exec.secretenv exec.validexitcode

    file.base file.copy.alwaysreplaceexistingdestpaths file.copy.includeexcludepatterns
    file.copy.modestring file.copy.requiredpaths file.rm.wildcard file.symlink.create
    mergeop diffop passthroughop

    cache.inline cache.local cache.registry
    exporter.image.annotations exporter.image.attestations exporter.multiple exporter.session
    exporter.sourcedateepoch gc.freespacefilter source.policy source.policy.session
""".split()
"""Ops of LLB and their settings, caches and outputs."""

"""What is built in each kind of container. All begin with a busybox in a tar of the context."""

from collections.abc import Mapping

from minibuild.startup.tuples import NamedTuple

_BASE = "FROM scratch AS base\nADD {base} /\n"


class Case(NamedTuple):
    """A Dockerfile, and flags of its build. `base` is the tar of a root directory."""

    dockerfile: str
    flags: tuple[str, ...] = ()
    base: str = "rootfs.tar"


CASES: Mapping[str, Case] = {
    "COPY only": Case(
        """
FROM base
COPY --chown=1000:100 --chmod=640 a /owned/
WORKDIR /workspace/dir
COPY . /all/
LABEL a=b
""",
    ),
    "RUN": Case(
        """
FROM base
ENV NAME=value
WORKDIR /w
RUN echo hello >hello && pwd >pwd && env | grep -v SHLVL | sort >env && id >id && umask >umask
RUN ln hello link && ln -s hello sym && mkfifo fifo && chmod 4755 id
RUN rm link && mkdir -p a/b && touch -d '2001-01-01 01:02:03' a/b/old && rm /bin/vi
RUN echo more >>hello && chown 12:34 a && mv pwd moved && chmod 1777 /w && rm env && mkdir env
RUN [ ! -e /bin/vi ] && cat hello >/seen && printf 'a\\n' >/etc/hosts; cat /etc/resolv.conf | wc -c
""",
    ),
    "/dev": Case(
        """
FROM scratch
COPY --from=base /bin /bin
RUN <<EOF
#!/bin/sh
echo "$0" >/script
EOF
RUN --mount=type=secret,id=s,target=/dev/secret cp /dev/secret /s
RUN ls -A / /dev | grep -e dev -e secret -e pipes >/seen
""",
        ("--secret", "id=s,src=a"),
    ),
    "USER": Case(
        """
FROM base
RUN echo app:x:1234:1234::/home/app:/bin/sh >>/etc/passwd && mkdir /data && chown app: /data
USER app
WORKDIR /home/app
RUN id >id && touch /data/mine && echo "$HOME" >home && ! touch /root/not
USER 4321:99
RUN id >/tmp/other
""",
    ),
    "mounts": Case(
        """
FROM base AS other
RUN echo other >>/etc/passwd
FROM base
RUN --mount=type=cache,target=/c,id=CACHE echo 1 >>/c/x; cat /c/x >/n
RUN --mount=type=cache,target=/c,id=CACHE echo 1 >>/c/x; cat /c/x >>/n
RUN --mount=type=cache,target=/c,id=CACHE,source=/,ro cat /c/x >>/n; cat /c/x | wc -l >>/n
RUN --mount=type=secret,id=s,mode=0440,uid=7 cat /run/secrets/s; stat -c %a-%u /run/secrets/s >/s
RUN --mount=type=secret,id=s,env=WORD echo "$WORD" >/word
RUN --mount=type=tmpfs,target=/var/t touch /var/t/gone; stat -c %a /var/t >/mode
RUN --mount=type=tmpfs,target=/var/u --mount=type=tmpfs,target=/var/v true
RUN --mount=type=tmpfs,target=/var/u touch -d '2001-01-01 01:02:03' /var; stat -c %Y /var >/time
RUN --mount=type=tmpfs,target=/usr touch /usr/gone; ls /usr >/inside
RUN --mount=type=bind,target=/src,rw cat /src/a >/src/new; ls /src/a /src/new >/listed
RUN --mount=from=other,source=/etc,target=/other cat /other/passwd >/passwd; ls -d /other >>/passwd
RUN --mount=type=bind,source=a,target=/deep/er/file cat /deep/er/file >/file
RUN --mount=type=ssh [ -S "$SSH_AUTH_SOCK" ] && echo yes >/agent
RUN ls -A /run /usr /var /deep >/after 2>&1; true
""",
        ("--secret", "id=s,src=a", "--ssh", "default=key"),
    ),
    "stages": Case(
        """
FROM base AS one
RUN echo one >/one && mkdir /d && chown 5:6 /d
FROM base AS two
COPY --from=one /one /d /from/
RUN cat /from/one >/two && rm -r /usr; mkdir /usr
FROM one
COPY --from=two /two /
RUN cat /one /two >/both
""",
    ),
    "link and merge": Case(
        """
FROM base
COPY --link a /x/
RUN echo run >/x/b
COPY --link --chown=9:9 a /x/c
RUN ls -ln /x | awk '{print $1, $3, $4, $9}' >/list; rm /x/a
COPY --link a /x/a
""",
    ),
}


FILES: Mapping[str, str] = {
    "python/setup.py": """
from setuptools import setup

setup(name="hello", version="1", packages=["hello"], entry_points={
    "console_scripts": ["hello = hello:main"]})
""",
    "python/hello/__init__.py": """
import sys


def main():
    print("hello from", sys.prefix)
""",
    "c/Makefile": """
sum: /objects/main.o
\ttcc -o $@ $<
/objects/main.o: main.c
\ttcc -c -o $@ $<
install: sum
\tinstall -D sum $(DESTDIR)/usr/bin/sum
\tln -s sum $(DESTDIR)/usr/bin/total
""",
    "c/main.c": """
#include <stdio.h>

int main(void) { return printf("%d\\n", 1 + 41) < 0; }
""",
}
"""What is in the context besides, for those of `REAL`."""

_CLEAN = "rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*"
_INSTALL = "apt-get update && apt-get install -y --no-install-recommends"

REAL: Mapping[str, Case] = {
    "nginx": Case(
        f"""
FROM base
RUN {_INSTALL} nginx-light sqlite3 && {_CLEAN}
RUN useradd --create-home app && install -d -o app -g www-data -m 2750 /srv/app
COPY --chown=app:www-data a /srv/app/
RUN --mount=type=cache,target=/var/cache/app,id=CACHE --mount=type=secret,id=s \\
    cp /run/secrets/s /srv/app/from-secret && chown -R app /srv/app && ln /srv/app/a /srv/app/b
USER app
WORKDIR /home/app
RUN sqlite3 data.db 'CREATE TABLE t(x); INSERT INTO t VALUES (42)' && id >id && umask 077 && touch x
CMD ["sh", "-c", "nginx -v 2>&1; sqlite3 data.db 'SELECT * FROM t'; cat id"]
""",
        ("--secret", "id=s,src=a"),
        "debian.tar",
    ),
    "Python": Case(
        f"""
FROM base AS python
ARG SOURCE_DATE_EPOCH
RUN {_INSTALL} python3-minimal python3-venv python3-setuptools python3-wheel && {_CLEAN}
FROM python AS build
COPY python /src
RUN python3 -m venv --system-site-packages /venv && \\
    /venv/bin/pip install --no-cache-dir --no-index --no-build-isolation /src
FROM python
RUN useradd --system --no-create-home web
COPY --from=build --chown=web /venv /venv
USER web
ENV PATH=/venv/bin:$PATH
RUN hello >/tmp/said && grep -q "hello from" /tmp/said
CMD ["hello"]
""",
        base="debian.tar",
    ),
    "C": Case(
        f"""
FROM base AS build
RUN {_INSTALL} tcc libc6-dev make && {_CLEAN}
WORKDIR /src
COPY c .
RUN --mount=type=cache,target=/objects,id=CACHE make && make install DESTDIR=/out
FROM base
COPY --from=build /out /
RUN sum && groupadd --gid 777 tool && chgrp tool /usr/bin/sum && chmod 2755 /usr/bin/sum
COPY --from=build --chmod=644 /src/main.c /usr/share/doc/sum/
""",
        base="debian.tar",
    ),
    "Perl": Case(
        f"""
FROM base AS other
RUN mkdir /lib2 && echo other >/lib2/other
FROM base
RUN {_INSTALL} libjson-perl libcap2-bin && {_CLEAN}
RUN useradd --create-home --shell /bin/sh app && \\
    cp /bin/true /usr/bin/bind && setcap cap_net_bind_service=ep /usr/bin/bind
USER app
WORKDIR /home/app
RUN --mount=type=cache,target=/home/app/.cache,id=CACHE,uid=1000,gid=1000 \\
    --mount=type=secret,id=s,uid=1000 --mount=type=ssh,uid=1000 \\
    --mount=type=tmpfs,target=/scratch \\
    --mount=from=other,source=/lib2,target=/lib2 --mount=type=bind,source=a,target=/in/a \\
    perl -MJSON -e 'print encode_json([map {{ -e $_ ? 1 : 0 }} @ARGV])' \\
        /run/secrets/s "$SSH_AUTH_SOCK" /scratch /lib2/other /in/a >found && \\
    touch .cache/x && cp /run/secrets/s s && chmod 400 s
USER root
RUN getcap /usr/bin/bind >/cap && ls -A /home/app/.cache /scratch /in >/left 2>&1; su app -c id >/id
""",
        ("--secret", "id=s,src=a", "--ssh", "default=key"),
        "debian.tar",
    ),
    "links": Case(
        f"""
FROM base
ARG SOURCE_DATE_EPOCH
RUN {_INSTALL} python3-minimal && {_CLEAN}
COPY --link python /app
COPY --link --chown=33 a /etc/app/a
RUN python3 -m compileall -q /app && rm /etc/app/a && rm -r /usr/share/doc
COPY --link a /etc/app/a
RUN cat /etc/app/a && find /etc/app /app | sort >/list
""",
        base="debian.tar",
    ),
}
"""What people build, over a Debian with apt."""


def dockerfile(case: Case, cache: str) -> str:
    """The text of a Dockerfile. `cache` is the name of its cache mounts."""
    return _BASE.format(base=case.base) + case.dockerfile.lstrip().replace("CACHE", cache)

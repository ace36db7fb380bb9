# syntax=docker/dockerfile:1
#  Check = skip=JSONArgsRecommended;error=true
# escape=\
# not a directive: the line above was the last

# VERSION the version of what is built
ARG VERSION=1.0 BARE

# build compiles things
From --platform=$BUILDPLATFORM \
    busybox:$VERSION As Build
ARG VERSION OTHER="two words"
ENV A=1 B="two words" \
    # a comment in between

    C=three\ words D='$A'
ENV OLD some value with  spaces
LABEL "quoted key"=x com.example.y="a \"quote\""
MAINTAINER Jo Doe <jo@example.com>
WORKDIR "/a dir"
USER ${NAME:-app}:web
COPY --from=other --chown=1:2 --chmod=u=rwX,go=rX --link --parents --exclude=*.md \
     --exclude=".git" a/./b /dest/
COPY ["a b", "c d"]
COPY a.txt <<EOF <<-"QUOTED" b.txt /inline/
hello $NAME
EOF
	tab
	QUOTED
ADD --checksum=sha256:abc --keep-git-dir=false --unpack https://example.com/x.tar /x/
RUN --mount='type=cache,target=/c,"id=a,b"' \
    --mount=source=x,dst=/y,rw --network=none --security=insecure make \
    && make install
RUN ["sh", "-c", "echo \u0041"]
RUN <<EOF
#!/bin/sh
echo $X \
  y
EOF
RUN cat <<-A 3<<'B' << C
	one
	A
two
B
three
C
EXPOSE 80 443/tcp 7000-7010
VOLUME /one /two
VOLUME ["/three four"]
STOPSIGNAL SIGTERM
SHELL ["/bin/bash", "-eo", "pipefail", "-c"]
HEALTHCHECK --interval=1m30s --timeout=500ms --retries=3 cmd ["check", "it"]
HEALTHCHECK NONE
ONBUILD RUN   echo  "$X" <<EOF
text
EOF
CMD ['not', 'json']
ENTRYPOINT []

# escape=`
FROM busybox
RUN dir C:\ `

  # comment
  && echo `$x
ENV A=a` b B=c``
COPY <<EOF C:\
one
EOF
CMD last
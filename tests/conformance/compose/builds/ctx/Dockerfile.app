FROM base AS first
ARG WORD
ARG FROM_ENV
RUN --mount=type=secret,id=token --mount=type=secret,id=other \
    echo "$WORD $FROM_ENV" $(cat /run/secrets/token /run/secrets/other) >/made
RUN grep there /etc/hosts >>/made; df -k /dev/shm | tail -1 | tr -s ' ' | cut -d' ' -f2 >>/made
COPY --from=extra file /extra
FROM first AS final
RUN cat /extra >>/made
FROM first AS unused
RUN false

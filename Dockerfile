# The bridge as a container: one static binary on an empty root, run by nobody in particular.
#
#   docker build -t bridge .
#   docker run -v "$PWD/pipelines:/etc/bridge:ro" -v bridge:/var/lib/bridge --read-only bridge
#
# The root filesystem may be read-only; everything that is written goes to /var/lib/bridge, which must outlive the
# container (or `[store] url` says "none" or names a PostgreSQL database).

FROM docker.io/library/rust:1.95-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends cmake make perl pkg-config ca-certificates \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# Where the binary comes from is the same here as in tests/container/image.sh, which CI runs.
RUN tests/container/root.sh /out

FROM scratch
COPY --from=build /out/root/ /
COPY --from=build --chown=65532:65532 /out/state /var/lib/bridge
ENV BRIDGE_STATE_DIR=/var/lib/bridge
USER 65532:65532
VOLUME /var/lib/bridge
HEALTHCHECK --interval=10s --timeout=5s --start-period=10s CMD ["/bridge", "health"]
ENTRYPOINT ["/bridge"]
CMD ["run", "/etc/bridge"]

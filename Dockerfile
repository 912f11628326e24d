# Two ways to an image of storm-index:
#   docker build -t storm-index .                      builds the program in here
#   docker build -t storm-index --target prebuilt .    takes a dist/storm-index that was built outside, on Debian 12's
#                                                      glibc (2.36) or an older one
ARG RUST_IMAGE=rust:1.95-bookworm
ARG BASE_IMAGE=debian:bookworm-slim

# What both have in common.
FROM ${BASE_IMAGE} AS base
# The certificates are for S3 over TLS.
RUN [ -s /etc/ssl/certs/ca-certificates.crt ] || { apt-get update -q \
        && apt-get install -y -q --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*; }
RUN groupadd --gid 10001 storm-index \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/storm-index --shell /usr/sbin/nologin storm-index \
    && mkdir -p /storage /var/lib/storm-index/findings /var/lib/storm-index/tmp \
    && chown -R storm-index:storm-index /storage /var/lib/storm-index \
    && chmod 1777 /var/lib/storm-index /var/lib/storm-index/*
# Whoever the container runs as may put his own there. Deletions wait on disk, not in memory: so TMPDIR is one.
ENV LISTEN=0.0.0.0:8080 \
    STORAGE_URL=/storage \
    DATABASE_URL=sqlite:///var/lib/storm-index/index.sqlite3 \
    FINDINGS=/var/lib/storm-index/findings \
    TMPDIR=/var/lib/storm-index/tmp
USER 10001:10001
WORKDIR /var/lib/storm-index
EXPOSE 8080
# Whether it lives, not whether it is ready: no trouble of the storage or the database is cured by another container.
HEALTHCHECK --interval=5s --timeout=10s --start-period=30s --retries=3 CMD ["storm-index", "health"]
ENTRYPOINT ["storm-index"]
CMD ["serve"]

# This one stands before the stages that need Rust: the classic builder makes all stages down to the wanted one.
FROM base AS prebuilt
COPY dist/storm-index /usr/local/bin/storm-index

FROM ${RUST_IMAGE} AS build
WORKDIR /build
# The dependencies are a layer of their own, so that a change of the program does not build them again.
COPY Cargo.toml Cargo.lock ./
COPY migration/Cargo.toml migration/
RUN mkdir -p src tests/it migration/src \
    && echo 'fn main() {}' | tee src/main.rs >tests/it/main.rs && touch src/lib.rs migration/src/lib.rs \
    && cargo build --release --locked
COPY migration/src migration/src
COPY src src
# Cargo goes by times, and the files that were copied may be older than what stood in for them.
RUN find src migration/src -name '*.rs' -exec touch {} + && cargo build --release --locked

FROM base AS runtime
COPY --from=build /build/target/release/storm-index /usr/local/bin/storm-index

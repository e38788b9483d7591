# The worker's image: the worker, git, and the assistants that ASSISTANTS names.
#
#   docker build -t ai-coding-worker .
#   docker build -t ai-coding-worker --build-arg ASSISTANTS=codex .   claude, codex, both (the default) or none
#
# Behind a proxy that inspects TLS: put its CA certificate (PEM, *.crt) into deploy/ca before the build.

FROM golang:1.26-bookworm AS build
COPY deploy/ca/ /usr/local/share/ca-certificates/
RUN update-ca-certificates
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
# Most of the time goes into what seldom changes: compiled here, it is there at the next build of the worker.
RUN CGO_ENABLED=0 go build -trimpath github.com/gin-gonic/gin github.com/go-git/go-git/v5/plumbing/transport/http github.com/minio/minio-go/v7 \
    github.com/prometheus/client_golang/prometheus/promhttp go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp
COPY . .
ARG VERSION=devel
RUN CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags "-s -w -X main.stamped=$VERSION" -o /out/worker ./cmd/worker

# npm unpacks each assistant's native binary; Node itself does not go into the image.
FROM node:20-bookworm-slim AS assistants
COPY deploy/ca/ /usr/local/share/ca-certificates/
RUN if command -v update-ca-certificates >/dev/null; then update-ca-certificates; fi
COPY deploy/assistants.sh /
ARG ASSISTANTS="claude codex"
RUN sh /assistants.sh /opt/assistants $ASSISTANTS

FROM debian:bookworm-slim
ARG VERSION=devel
LABEL org.opencontainers.image.title="ai-coding-worker" \
      org.opencontainers.image.description="Runs one coding assistant job on a git repository and exits" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="$VERSION"
COPY deploy/ca/ /usr/local/share/ca-certificates/
RUN apt-get update -qq \
 && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends ca-certificates git git-lfs >/dev/null \
 && update-ca-certificates \
 && rm -rf /var/lib/apt/lists/* /var/cache/apt/* /var/log/apt /var/log/dpkg.log \
 && find / -xdev -perm /6000 -type f -exec chmod a-s {} + \
 && groupadd --gid 10001 agent \
 && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin agent \
 && install -d -m 0700 -o 10001 -g 10001 /workspace
COPY --from=assistants /opt/assistants /opt/assistants
COPY --from=build /out/worker /usr/local/bin/worker
ENV PATH=/opt/assistants/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
EXPOSE 5000
STOPSIGNAL SIGTERM
# An image that cannot run a job ends before it listens, so that an update to it is rolled back.
ENTRYPOINT ["/usr/local/bin/worker", "--selftest"]

# wring and its plugins, linked statically, for a user without rights.
#
#   docker build -t wring --build-arg VERSION="$(git describe --tags --always)" .
#
# How to run it: docs/deployment.md
FROM golang:1.26 AS build
ARG VERSION=v0.0.0-dev
ENV CGO_ENABLED=0
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY . .
RUN flags="-s -w -X main.version=$VERSION -X github.com/wringdb/wring/sdk.buildVersion=$VERSION" && \
    go build -trimpath -buildvcs=false -ldflags "$flags" -o /out/bin/wring ./cmd/host && \
    go build -trimpath -buildvcs=false -ldflags "$flags" -o /out/bin/ \
        ./plugins/bolt/cmd/wring-plugin-bolt ./plugins/pebble/cmd/wring-plugin-pebble && \
    mkdir -m 0700 /out/data

# No shell, no libraries; certificates of authorities and time zones.
FROM gcr.io/distroless/static-debian12:nonroot
COPY --from=build /out/bin/ /usr/local/bin/
COPY --from=build --chown=65532:65532 /out/data/ /var/lib/wring/
USER 65532:65532
VOLUME ["/var/lib/wring"]
ENTRYPOINT ["/usr/local/bin/wring"]
CMD ["run", "--config", "/etc/wring/wring.hcl"]

FROM debian:trixie-slim AS build
RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
      cmake g++ ninja-build pkg-config fonts-dejavu-core \
      libabsl-dev libbenchmark-dev libcivetweb-dev libcli11-dev libdnnl-dev libfreetype-dev libgmock-dev \
      libgrpc++-dev libgtest-dev libhwy-dev libpng-dev libprotobuf-dev libspdlog-dev libssl-dev libxxhash-dev libyaml-cpp-dev \
      nlohmann-json3-dev prometheus-cpp-dev protobuf-compiler protobuf-compiler-grpc \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# One compiler per core unless told otherwise: a file that includes gRPC takes most of a gigabyte.
ARG JOBS
RUN cmake --preset release \
 && cmake --build --preset release --parallel "${JOBS:-$(nproc)}" \
 && ctest --preset release -L 'unit|conformance'
RUN deploy/image/rootfs.sh /rootfs build/release/bin/attnd build/release/bin/attnctl

# Nothing but the two programs and the libraries they load: no shell, no package manager.
FROM scratch
COPY --from=build /rootfs/ /
USER 65532:65532
WORKDIR /
EXPOSE 50051 9464
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=30s --retries=3 CMD ["/usr/bin/attnd", "--healthcheck"]
ENTRYPOINT ["/usr/bin/attnd"]
CMD ["--listen", "0.0.0.0:50051", "--http", "0.0.0.0:9464", "--insecure"]
ARG VERSION=dev
LABEL org.opencontainers.image.title="attnd" \
      org.opencontainers.image.description="Attention on CPUs as a gRPC service" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}"

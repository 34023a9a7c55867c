# Built by docker, podman and buildah alike; `make image` builds it without a registry (docs/operations/image.md).
# The base: glibc, Python 3.11 or newer with its venv module. Both stages use it, for one interpreter in both.
ARG BASE_IMAGE=python:3.13-slim-trixie

FROM ${BASE_IMAGE} AS build
# Where no package index is reachable: a directory of wheels, mounted by --volume.
ARG PIP_NO_INDEX
ARG PIP_FIND_LINKS
WORKDIR /src
COPY hack/requirements-build.txt hack/requirements-image.txt ./
# pip stays behind in /build: the image has no installer.
RUN python3 -m venv /build \
 && python3 -m venv --without-pip /app \
 && /build/bin/pip install --no-cache-dir --require-hashes --no-deps --only-binary :all: -r requirements-build.txt \
 && /build/bin/pip --python /app/bin/python install --no-cache-dir --no-compile \
      --require-hashes --no-deps --only-binary :all: -r requirements-image.txt
COPY pyproject.toml README.md ./
COPY operator operator
# By name and not by path, so that no record of this directory is left. Bytecode that is named by hash, not by time:
# the same bytes in every build, and usable where the root is read-only and the files' times are all the same.
RUN /build/bin/pip wheel --no-index --no-deps --no-build-isolation --wheel-dir /dist . \
 && /build/bin/pip --python /app/bin/python install --no-cache-dir --no-compile --no-index --no-deps \
      --find-links /dist dotmac-ipam-operator \
 && /build/bin/pip --python /app/bin/python check \
 && /app/bin/python -m compileall -qf --invalidation-mode unchecked-hash /app/lib \
 && echo 'ipam:x:65532:' >> /etc/group \
 && echo 'ipam:x:65532:65532:IPAM operator:/nonexistent:/usr/sbin/nologin' >> /etc/passwd

FROM ${BASE_IMAGE}
ARG BASE_IMAGE
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="ipam-operator" \
      org.opencontainers.image.description="Kubernetes operator for IP address management on PostgreSQL" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="DotMac" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE_IMAGE}"
# Copied instead of made here: useradd would write today's date into /etc/shadow, and needs a shell.
COPY --from=build /etc/passwd /etc/group /etc/
COPY --from=build /app /app
# Who we are and where we live under a UID that has no entry: Python looks these up, and dies where it finds nothing.
ENV PATH=/app/bin:$PATH \
    LOGNAME=ipam \
    HOME=/nonexistent \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8080
ENTRYPOINT ["ipam-operator"]
CMD ["run"]

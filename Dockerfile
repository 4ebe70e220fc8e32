# syntax=docker/dockerfile:1
# One image for each service, by its target:
#
#   docker build --target indexer -t sightline-indexer:0.1.0 .
#
# Targets: ingest, embedder, indexer, search, reconcile; encoder holds a model for embedder-remote and search-remote, which
# ask it over HTTP. Only embedder, search and encoder carry torch. Every image runs as nobody in particular on a root that is
# read-only: give it an emptyDir at /tmp, and at /models where HF_HOME says so.
#
# With a list of all that is in the image, and how it was made, attached to it in the registry:
#   docker buildx build --target indexer --sbom=true --provenance=true --push -t registry.example/sightline-indexer:0.1.0 .

# By digest, of the index for all architectures: a tag is pushed again, with the same Python, when Debian mends something.
# A newer one is shown by `docker buildx imagetools inspect python:3.11.14-slim-bookworm`.
ARG PYTHON=python:3.11.14-slim-bookworm@sha256:65a93d69fa75478d554f4ad27c85c1e69fa184956261b4301ebaf6dbb0a3543d

FROM ${PYTHON} AS build
# Whoever scans for --sbom looks into this stage too.
ARG BUILDKIT_SBOM_SCAN_STAGE=true
RUN pip install --no-cache-dir uv==0.13.8
RUN uv venv --no-python-downloads /opt/sightline
# Compiled here, since nothing can be written where it runs.
ENV VIRTUAL_ENV=/opt/sightline UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1
WORKDIR /src
COPY pyproject.toml requirements.lock README.md LICENSE NOTICE ./
COPY cli cli
COPY services services
COPY runtime runtime
COPY stores stores
COPY encoders encoders
COPY imaging imaging
COPY schemas schemas
COPY sightline_client sightline_client

# The lock pins version and hash of all that an extra needs; uv verifies the hashes of constraints too.
FROM build AS build-ingest
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[ingest,tracing]"
FROM build AS build-embedder
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[embedder,tracing]"
FROM build AS build-embedder-remote
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[embedder-remote,tracing]"
FROM build AS build-indexer
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[indexer,tracing]"
FROM build AS build-search
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[search,tracing]"
FROM build AS build-search-remote
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[search-remote,tracing]"
FROM build AS build-reconcile
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[reconcile,tracing]"

FROM ${PYTHON} AS runtime
# Home and temporary files go where a read-only root leaves room.
ENV PATH=/opt/sightline/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["sightline"]

FROM runtime AS ingest
COPY --from=build-ingest /opt/sightline /opt/sightline
CMD ["run", "ingest"]

FROM runtime AS embedder
COPY --from=build-embedder /opt/sightline /opt/sightline
CMD ["run", "embedder"]

FROM runtime AS embedder-remote
COPY --from=build-embedder-remote /opt/sightline /opt/sightline
CMD ["run", "embedder"]

FROM runtime AS indexer
COPY --from=build-indexer /opt/sightline /opt/sightline
CMD ["run", "indexer"]

FROM runtime AS reconcile
COPY --from=build-reconcile /opt/sightline /opt/sightline
CMD ["reconcile", "--help"]

FROM runtime AS encoder
COPY --from=build-search /opt/sightline /opt/sightline
CMD ["serve"]

FROM runtime AS search-remote
COPY --from=build-search-remote /opt/sightline /opt/sightline
CMD ["run", "search"]

FROM runtime AS search
COPY --from=build-search /opt/sightline /opt/sightline
CMD ["run", "search"]

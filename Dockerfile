# syntax=docker/dockerfile:1
# One image for each service; the extra decides what is in it:
#   docker build --build-arg EXTRA=indexer -t sightline-indexer .
# EXTRA is ingest, embedder, indexer or search; several by comma ("ingest,indexer" is the reconcile job); or all.
# Only embedder and search carry torch.

FROM python:3.11-slim-bookworm AS build
ARG EXTRA
RUN test -n "$EXTRA" || { echo "say which service: --build-arg EXTRA=embedder"; exit 1; }
RUN pip install --no-cache-dir uv==0.13.8
RUN uv venv --no-python-downloads /opt/sightline
ENV VIRTUAL_ENV=/opt/sightline UV_LINK_MODE=copy
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
# The lock pins version and hash of all that the extra needs; uv verifies the hashes of constraints too.
RUN --mount=type=cache,target=/root/.cache/uv uv pip install --constraint requirements.lock ".[${EXTRA}]"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/sightline /opt/sightline
# Home and temporary files go where a read-only root leaves room.
ENV PATH=/opt/sightline/bin:$PATH HOME=/tmp PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /tmp
EXPOSE 8080
ENTRYPOINT ["sightline"]
CMD ["--help"]

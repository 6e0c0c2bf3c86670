# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /src
# A package index that holds CPU builds of torch; without it torch comes from the default index, with CUDA, in gigabytes.
ARG TORCH_INDEX=""
COPY locks locks
RUN python -m venv /opt/build && python -m venv /opt/recbatch
# Every file that is installed has one of the hashes in locks/; torch, whose builds differ, has the version only.
RUN /opt/build/bin/pip install --no-cache-dir --no-deps --require-hashes --requirement locks/build.txt
RUN /opt/recbatch/bin/pip install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
    --requirement locks/image.txt
COPY constraints.txt pyproject.toml README.md LICENSE config.yaml ./
RUN /opt/recbatch/bin/pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} torch
COPY batch batch
COPY migrations migrations
RUN /opt/build/bin/pip wheel --no-deps --no-build-isolation --wheel-dir /tmp/wheel . \
    && /opt/recbatch/bin/pip install --no-cache-dir --no-deps /tmp/wheel/*.whl \
    && /opt/recbatch/bin/pip check

FROM python:3.11-slim
COPY --from=build /opt/recbatch /opt/recbatch
# Compiled loops are kept on the volume: the first night makes them, the others load them.
ENV PATH=/opt/recbatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 NUMBA_CACHE_DIR=/data/numba
# No name, no shell, no home: a number that owns nothing but /data.
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
# The exec form: signals reach the program, which ends its run and exits 143.
ENTRYPOINT ["recbatch"]
CMD ["schedule"]

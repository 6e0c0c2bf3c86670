# syntax=docker/dockerfile:1
FROM python:3.11-slim AS build
WORKDIR /src
# A package index that holds CPU builds of torch; without it torch comes from the default index, with CUDA, in gigabytes.
ARG TORCH_INDEX=""
RUN python -m venv /opt/recbatch
COPY constraints.txt pyproject.toml README.md LICENSE config.yaml ./
COPY batch batch
COPY migrations migrations
RUN /opt/recbatch/bin/pip install --no-cache-dir --constraint constraints.txt \
    ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} '.[postgres]'

FROM python:3.11-slim
COPY --from=build /opt/recbatch /opt/recbatch
ENV PATH=/opt/recbatch/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# No name, no shell, no home: a number that owns nothing but /data.
RUN mkdir /data && chown 10001:10001 /data
USER 10001:10001
WORKDIR /data
VOLUME /data
# The exec form: signals reach the program, which ends its run and exits 143.
ENTRYPOINT ["recbatch"]
CMD ["schedule"]

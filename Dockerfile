# One file, four images: docker build --target feedback_api | reward_service | trainer | trainer_cluster .
# Each adds its extra on top of the one before, so that the layers are shared; feedback_api has no torch.
ARG PYTHON_IMAGE=python:3.11.14-slim-bookworm

FROM ${PYTHON_IMAGE} AS build-feedback_api
# A mirror of CPU builds in PIP_EXTRA_INDEX_URL keeps CUDA out of machines without a GPU.
ARG PIP_EXTRA_INDEX_URL=""
ENV PATH=/opt/heed/bin:$PATH PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/heed
COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY alembic alembic
COPY shared shared
COPY services services
COPY heed_cli heed_cli
RUN pip install -c constraints.txt .

FROM build-feedback_api AS build-reward_service
RUN pip install -c constraints.txt '.[reward,s3]'

FROM build-reward_service AS build-trainer
RUN pip install -c constraints.txt '.[trainer,s3]'

FROM build-trainer AS build-trainer_cluster
RUN pip install -c constraints.txt '.[trainer,ray,s3,trackers]'

FROM ${PYTHON_IMAGE} AS runtime
RUN useradd --uid 10001 --create-home heed && install -d -o heed -g heed /var/lib/heed /var/cache/heed
ENV PATH=/opt/heed/bin:$PATH PYTHONUNBUFFERED=1 HEED_DATA_DIR=/var/lib/heed HF_HUB_DISABLE_TELEMETRY=1
USER 10001
WORKDIR /var/lib/heed

FROM runtime AS feedback_api
COPY --from=build-feedback_api /opt/heed /opt/heed
ENV HEED_FEEDBACK_HOST=0.0.0.0
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["python", "-m", "services.feedback_api"]

FROM runtime AS reward_service
COPY --from=build-reward_service /opt/heed /opt/heed
ENV HEED_REWARD_HOST=0.0.0.0 HF_HUB_OFFLINE=1
EXPOSE 8001
HEALTHCHECK --interval=10s --timeout=3s --start-period=60s \
  CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8001/readyz', timeout=2)"]
CMD ["python", "-m", "services.reward_service"]

FROM runtime AS trainer
COPY --from=build-trainer /opt/heed /opt/heed
ENV HF_HOME=/var/lib/heed/cache MPLCONFIGDIR=/tmp
HEALTHCHECK --interval=30s --timeout=10s --start-period=30s \
  CMD ["python", "-m", "services.trainer", "--check"]
ENTRYPOINT ["heed_container"]
CMD ["python", "-m", "services.trainer"]

# With Ray, buckets and trackers: for KubeRay, for SageMaker, and wherever else many machines train.
FROM trainer AS trainer_cluster
COPY --from=build-trainer_cluster /opt/heed /opt/heed

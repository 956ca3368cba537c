# One image for every process of ours; the command chooses which:
#   python worker.py (default) | python api.py | python client.py store migrate | python client.py …
# The target "sandbox" adds the stand-in of the outside world; production images do without it.
ARG PYTHON=python:3.11.15-slim-bookworm

FROM ${PYTHON} AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
RUN python -m venv /opt/venv
COPY requirements/app.txt requirements/app.txt
# Exactly what is locked, and nothing that would have to be compiled or would run code to install.
RUN /opt/venv/bin/pip install --require-hashes --only-binary :all: -r requirements/app.txt \
    && /opt/venv/bin/pip uninstall --yes pip setuptools
COPY . /app
# Every run of a workflow imports its modules again: compiled ones, for the files are read-only later.
RUN /opt/venv/bin/python -m compileall -q --invalidation-mode unchecked-hash /app \
    && mv /app/sandbox /sandbox

FROM ${PYTHON} AS base
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin orders
COPY --from=build /opt/venv /opt/venv
WORKDIR /app
STOPSIGNAL SIGTERM

FROM base AS sandbox
RUN install --directory --owner orders /var/lib/sandbox
COPY --from=build /sandbox sandbox
USER 10001
EXPOSE 8030
CMD ["python", "-m", "sandbox.world", "/var/lib/sandbox", "--host", "0.0.0.0", "--port", "8030"]

FROM base AS app
COPY --from=build /app .
USER 10001
EXPOSE 8080
# No HEALTHCHECK here: what is asked depends on the process (see docker-compose.yml).
CMD ["python", "worker.py"]

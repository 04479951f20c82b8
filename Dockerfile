# The `margin` command with its pinned dependencies: docker run --rm margin-monitor --help
FROM python:3.11-slim

WORKDIR /opt/margin
COPY pyproject.toml setup.py constraints.txt ./
COPY schemas schemas
COPY risk risk
COPY transforms transforms
COPY pipeline pipeline
COPY runners runners
COPY ops ops
COPY conf conf
RUN pip install --no-cache-dir . -c constraints.txt && useradd --create-home margin

USER margin
WORKDIR /home/margin
ENTRYPOINT ["margin"]

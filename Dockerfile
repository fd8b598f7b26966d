# Server of one index: docker build -t elasticdenser . ; docs/serving.md says how to run it.
# The kernel is compiled in the first stage. Without a C compiler torch would be needed, and be several times slower.
FROM python:3.11-slim AS build
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml setup.py MANIFEST.in constraints.txt README.md LICENSE ./
COPY elasticdenser elasticdenser
RUN python -m venv /venv && /venv/bin/pip install --no-cache-dir -c constraints.txt '.[serve]'

FROM python:3.11-slim
COPY --from=build /venv /venv
RUN useradd --system --create-home elasticdenser && mkdir /indexes && chown elasticdenser /indexes
USER elasticdenser
ENV PATH=/venv/bin:$PATH OMP_NUM_THREADS=1
VOLUME /indexes
EXPOSE 8000
HEALTHCHECK --start-period=60s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=5)"]
ENTRYPOINT ["elasticdenser"]
CMD ["serve", "/indexes/mine", "--host", "0.0.0.0", "--offline"]

FROM python:3.12.13-slim-bookworm AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src
RUN python -m venv /venv
COPY requirements.txt requirements-stack.txt ./
RUN /venv/bin/pip install --require-hashes -r requirements.txt \
    && python -m pip install --require-hashes -r requirements-stack.txt
COPY pyproject.toml README.md LICENSE ./
COPY tocsin tocsin
COPY flows flows
COPY api api
COPY sql sql
RUN python -m pip wheel --no-deps --no-build-isolation --wheel-dir /wheel . \
    && /venv/bin/pip install --no-deps /wheel/*.whl \
    && /venv/bin/pip uninstall --yes pip

FROM python:3.12.13-slim-bookworm
RUN useradd --system --uid 10001 --no-create-home tocsin \
    && install --directory --owner=tocsin --group=tocsin /var/lib/tocsin/recovery
COPY --from=build /venv /venv
# With an arena for each thread, what one of them frees is lost to the others.
ENV PATH=/venv/bin:$PATH PYTHONUNBUFFERED=1 MALLOC_ARENA_MAX=2
WORKDIR /var/lib/tocsin
USER tocsin
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f'http://127.0.0.1:{os.environ.get(\"TOCSIN_API_PORT\", 8000)}/readyz', timeout=4)"]
CMD ["tocsin", "api"]

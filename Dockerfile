# The service on the CPU: docker build -t act2sal . && docker run --rm -p 127.0.0.1:8000:8000 --read-only act2sal
FROM python:3.11-slim AS build
WORKDIR /source
COPY pyproject.toml README.md LICENSE constraints.txt ./
COPY src src
RUN python -m venv /opt/act2sal && /opt/act2sal/bin/pip install --no-cache-dir -c constraints.txt ".[serve]"

FROM python:3.11-slim
RUN useradd --system --uid 10001 --no-create-home act2sal
COPY --from=build /opt/act2sal /opt/act2sal
ENV PATH=/opt/act2sal/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 MPLCONFIGDIR=/tmp
USER act2sal
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=3s --start-period=10s CMD ["python", "-c", \
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/v1/health', timeout=2)"]
# Docker decides which machines reach the port; with a token: -v TOKEN:/token:ro, and --token-file /token for --public.
ENTRYPOINT ["act2sal", "serve", "--host", "0.0.0.0"]
CMD ["--public"]

"""Photos per second of `act2sal serve`, beside `act2sal predict` and the pattern of rembg's server, in one run.

    python benchmarks/serve.py PHOTOS --out recipes/results/serve_speed.json

rembg's pattern: each request decodes its photo, runs the network on it alone, and encodes the map, in the thread
pool of the web framework. Network, decoder, encoder and clients are the same. Clients run in a process
of their own, on the same cores. Load of others on the machine changes the figures, so it is written beside them.

    python benchmarks/serve.py PHOTOS --soak --count 6000 --out recipes/results/serve_soak.json
    python benchmarks/serve.py PHOTOS --soak --count 192 --clients 64 --megapixels 12

measure the memory of the service over so many requests, and at its highest.
"""

import argparse
import asyncio
import http.client
import io
import json
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from PIL import Image

CLIENTS = 16


def pattern_app() -> Any:
    """The rival: one photo per request, no batching."""
    from fastapi import FastAPI, File, Response

    from act2sal.data.images import read_with_opacity
    from act2sal.predict.detector import Detector
    from act2sal.predict.rendering import Rendering

    detector, rendering, app = Detector.load(), Rendering(), FastAPI()

    @app.post("/v1/predict")
    def predict(photo: bytes = File()) -> Response:
        pixels, opacity = read_with_opacity(photo)
        prob = detector(pixels)
        return Response(
            rendering.rendered_bytes(pixels, prob, opacity=opacity).files[0], media_type="image/png"
        )

    return app


def start(command: list[str], port: int) -> tuple[subprocess.Popen[bytes], float]:
    """A service, and the seconds until it answers anything at all."""
    begun = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    while process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/v1/health")
            connection.getresponse().read()
            return process, time.perf_counter() - begun
        except OSError:
            time.sleep(0.02)
        finally:
            connection.close()
    raise SystemExit(f"{command} ended at its start")


def request_of(content: bytes) -> bytes:
    head = b'--x\r\nContent-Disposition: form-data; name="photo"; filename="p.jpg"\r\n\r\n'
    body = head + content + b"\r\n--x--\r\n"
    return (
        f"POST /v1/predict HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def content_of(path: Path, megapixels: float | None) -> bytes:
    """The file of a photo, which may be enlarged."""
    if megapixels is None:
        return path.read_bytes()
    with Image.open(path) as photo:
        scale = (megapixels * 1e6 / (photo.width * photo.height)) ** 0.5
        large = photo.convert("RGB").resize((round(photo.width * scale), round(photo.height * scale)))
    content = io.BytesIO()
    large.save(content, "JPEG", quality=90)
    return content.getvalue()


async def asked(port: int, requests: list[bytes], count: int, clients: int) -> list[float]:
    """Seconds of each of `count` requests by so many clients at once."""
    seconds: list[float] = []
    numbers = iter(range(count))

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for number in numbers:
            begun = time.perf_counter()
            writer.write(requests[number % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            seconds.append(time.perf_counter() - begun)
        writer.close()
        await writer.wait_closed()

    await asyncio.gather(*(client() for _ in range(clients)))
    return seconds


def memory(process: subprocess.Popen[bytes]) -> float:
    """MB that a process holds now."""
    pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def highest(process: subprocess.Popen[bytes]) -> float:
    """MB that a process held at most."""
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1e3


def measured(
    command: list[str], port: int, requests: list[bytes], count: int, clients: int
) -> dict[str, float]:
    process, start_seconds = start(command, port)
    try:
        asyncio.run(asked(port, requests, 2 * clients, clients))  # what is compiled at its first use
        before, begun = memory(process), time.perf_counter()
        seconds = asyncio.run(asked(port, requests, count, clients))
        took = time.perf_counter() - begun
        return {
            "requests": count,
            "clients": clients,
            "start_seconds": round(start_seconds, 2),
            "photos_per_second": round(count / took, 2),
            "p50_ms": round(1000 * statistics.median(seconds), 1),
            "p95_ms": round(1000 * statistics.quantiles(seconds, n=20)[-1], 1),
            "memory_before_mb": round(before, 1),
            "memory_after_mb": round(memory(process), 1),
            "memory_highest_mb": round(highest(process), 1),
        }
    finally:
        process.terminate()
        process.wait()


def predicted(photos: Path, count: int) -> dict[str, float]:
    """`act2sal predict` on the same photos: the time of all less that of one, which is that of its start."""
    with tempfile.TemporaryDirectory() as folder:
        few, many = Path(folder, "few"), Path(folder, "many")
        files = sorted(photos.glob("*.jpg"))
        for target, number in ((few, 8), (many, count)):
            target.mkdir()
            for index in range(number):
                (target / f"{index:05}.jpg").symlink_to(files[index % len(files)].resolve())
        took = []
        for source in (few, few, many):
            begun = time.perf_counter()
            command = [
                sys.executable,
                "-m",
                "act2sal.cli",
                "predict",
                str(source),
                "--out",
                f"{folder}/maps",
                "--quiet",
            ]
            subprocess.run([*command, "--overwrite"], check=True, capture_output=True)
            took.append(time.perf_counter() - begun)
    return {"photos": count, "photos_per_second": round((count - 8) / (took[2] - took[1]), 2)}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--count", type=int, default=400)
    parser.add_argument("--clients", type=int, default=CLIENTS)
    parser.add_argument(
        "--rounds", type=int, default=3, help="of all three, one after the other; load changes"
    )
    parser.add_argument("--soak", action="store_true", help="only act2sal serve, for its memory")
    parser.add_argument("--megapixels", type=float, help="enlarge the photos to so many")
    options = parser.parse_args()
    files = sorted(options.photos.glob("*.jpg"))[: 8 if options.megapixels else 100]
    requests = [request_of(content_of(path, options.megapixels)) for path in files]
    ours = [sys.executable, "-m", "act2sal.cli", "serve", "--port", "8431", "--quiet"]
    theirs = [sys.executable, "-m", "uvicorn", "serve:pattern_app", "--factory", "--port", "8432"]
    theirs += ["--app-dir", str(Path(__file__).parent), "--no-access-log"]
    found: dict[str, Any] = {
        "command": "python benchmarks/serve.py PHOTOS " + shlex.join(sys.argv[2:]),
        "cores": len(os.sched_getaffinity(0)),
        "rounds": [],
    }
    for _ in range(1 if options.soak else options.rounds):
        one: dict[str, Any] = {"load": round(os.getloadavg()[0], 1)}
        one["serve"] = measured(ours, 8431, requests, options.count, options.clients)
        if not options.soak:
            one["one photo per request"] = measured(theirs, 8432, requests, options.count, options.clients)
            one["predict"] = predicted(options.photos, options.count)
        found["rounds"].append(one)
    if not options.soak:
        found["median_photos_per_second"] = speeds = {
            name: statistics.median(one[name]["photos_per_second"] for one in found["rounds"])
            for name in ("serve", "one photo per request", "predict")
        }
        found["share_of_predict"] = round(speeds["serve"] / speeds["predict"], 3)
    text = json.dumps(found, indent=2) + "\n"
    print(text, end="")
    if options.out is not None:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(text)


if __name__ == "__main__":
    main()

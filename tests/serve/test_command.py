"""`act2sal serve` as a process: its start, its end, and clients that behave badly."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
from service import served, square_photo

PHOTO = square_photo()


def run(*options: str | Path) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "act2sal.cli", "serve", *map(str, options)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "--token-file FILE asks them"),
        (["--host", "192.0.2.1", "--public"], "--host 192.0.2.1 --port 8000"),
        (["--port", "70000"], "port"),
        (["--public"], "--public has no effect"),
        (["--photos", "."], "--photos has no effect"),
        (["--token-file", "nowhere"], "cannot be read"),
        (["--queue", "0"], "queue"),
        (["--run", "nowhere"], "no such folder"),
        (["--model", "nowhere.onnx"], "nowhere.onnx"),
    ],
)
def test_what_cannot_be_served(options: list[str], said: str) -> None:
    done = run(*options)
    assert done.returncode == 2
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_token_that_can_be_guessed(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret\n")
    done = run("--host", "0.0.0.0", "--token-file", tmp_path / "token")
    assert (done.returncode, "at least 16 characters" in done.stderr) == (2, True)


def test_from_start_to_end() -> None:
    with served() as (address, process):
        assert httpx.get(f"{address}/v1/health").json()["status"] == "ok"
        response = httpx.post(f"{address}/v1/predict", files={"photo": PHOTO}, timeout=60)
        assert response.status_code == 200
        assert "server" not in response.headers
        port = int(address.rpartition(":")[2])
        assert run("--port", str(port)).returncode == 2  # it is taken
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=30)
        assert process.returncode == 0
        assert errors.endswith("stopped\n")
        assert '"route": "/v1/predict"' in errors
        assert "Traceback" not in errors


def test_no_pytorch_is_loaded() -> None:
    code = """
import sys, threading, time, os, signal
from act2sal.cli import main
def stop():
    time.sleep(6)
    print("torch" in sys.modules, flush=True)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=stop).start()
main(["serve", "--port", "0"])
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.stdout.splitlines()[-1] == "False", done.stderr


def test_a_request_that_is_held_is_answered_after_sigterm() -> None:
    with served("--quiet") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        body = PHOTO
        with socket.create_connection((host, int(port))) as client:
            head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
            client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body[:50])
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            time.sleep(0.5)
            client.sendall(body[50:])
            client.settimeout(30)
            assert client.recv(100).startswith(b"HTTP/1.1 200 OK")
        process.wait(30)
        assert process.returncode == 0


def test_clients_that_go_away_leave_the_service_whole() -> None:
    with served("--quiet", "--queue", "4") as (address, process):
        host, port = address.removeprefix("http://").split(":")
        for cut in (10, 60, 200):
            for _ in range(6):
                with socket.create_connection((host, int(port))) as client:
                    head = f"POST /v1/predict HTTP/1.1\r\nHost: {host}\r\nContent-Type: image/png\r\n"
                    client.sendall((f"{head}Content-Length: {len(PHOTO)}\r\n\r\n".encode() + PHOTO)[:cut])
        time.sleep(0.5)
        assert httpx.post(f"{address}/v1/predict", files={"photo": PHOTO}, timeout=60).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert "Traceback" not in process.communicate(timeout=30)[1]

"""A server of this machine that speaks S3's language (moto), for tests and benchmarks; it counts its requests."""

import os
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

BUCKETS = ("photos", "maps")


@contextmanager
def object_store() -> Iterator[Counter[str]]:
    """Let `s3://photos` and `s3://maps` lead to a server that lives with the body.

    Yields:
        How many requests of each kind came so far: GET, LIST, HEAD, PUT, DELETE.
    """
    import s3fs
    from moto.server import ThreadedMotoServer
    from werkzeug.serving import WSGIRequestHandler

    counted: Counter[str] = Counter()

    def count(handler: WSGIRequestHandler, *told: Any) -> None:
        listing = handler.command == "GET" and "list-type" in handler.path
        counted["LIST" if listing else handler.command] += 1

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with patch.object(WSGIRequestHandler, "log_request", count):
        server.start()
        host, port = server.get_host_and_port()
        told = {
            "AWS_ACCESS_KEY_ID": "anybody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            "NO_PROXY": host,
            "no_proxy": host,
        }
        try:
            with patch.dict(os.environ, told):
                empty = urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")
                urllib.request.urlopen(empty).close()
                s3fs.S3FileSystem.clear_instance_cache()
                for bucket in BUCKETS:
                    s3fs.S3FileSystem().mkdir(bucket)
                counted.clear()
                yield counted
        finally:
            s3fs.S3FileSystem.clear_instance_cache()
            server.stop()

"""A file of TensorBoard events that are written at once, so that a full disk raises an ordinary error."""

import io
import os
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary

from act2sal.data.images import naming


@contextmanager
def _hidden(*packages: str) -> Iterator[None]:
    """Let imports of these packages fail, as if they were not installed."""
    kept = {name: sys.modules[name] for name in packages if name in sys.modules}
    sys.modules.update(dict.fromkeys(packages))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in packages:
            del sys.modules[name]
        sys.modules.update(kept)


# TensorBoard tries Amazon's packages, which open a socket as they are imported.
with _hidden("boto3", "botocore"):
    from tensorboard.summary.writer.record_writer import RecordWriter

VERSION = "brain.Event:2"
"""Version of the format, stored in the first event of every file."""


class EventFile:
    """A new file of events in `folder`, created with the first event; TensorBoard joins it with earlier ones.

    `SummaryWriter` is not used because it writes from a thread, which prints a traceback when the disk is full.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"events.out.tfevents.{int(time.time())}.{os.getpid()}"

    def write(self, scalars: Mapping[str, float], step: int) -> None:
        """Add the values of scalars, by name, at a step.

        Raises:
            OSError: the disk is full; the error names the file.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        values = [Summary.Value(tag=name, simple_value=value) for name, value in scalars.items()]
        events = [Event(wall_time=time.time(), step=step, summary=Summary(value=values))]
        if not self.path.exists():
            events.insert(0, Event(wall_time=time.time(), file_version=VERSION))
        content = io.BytesIO()
        for event in events:
            RecordWriter(content).write(event.SerializeToString())
        with naming(self.path), self.path.open("ab") as file:
            file.write(content.getvalue())

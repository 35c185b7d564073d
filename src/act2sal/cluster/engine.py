"""Ray Data, which spreads work over the processes of one or many machines, and restarts those that die."""

import logging
import os
import pickle
import socket
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from act2sal.errors import InputError, LostProcessError, MissingPackageError, one_line
from act2sal.runtime import cores

Work = TypeVar("Work")
Found = TypeVar("Found")

MOST_BLOCKS = 10_000
"""Blocks of works that Ray Data is given; one that is lost is looked at again as a whole."""

ANSWER = 10.0
"""Seconds in which a cluster has to answer."""


@dataclass(frozen=True)
class Cluster:
    """Where the processes run.

    Attributes:
        address: of a Ray cluster: auto, HOST:PORT or ray://HOST:PORT; None: one is started on this machine.
        num_cpus: cores in all, of which each process takes one; None: all there are.
        num_gpus: GPUs in all, of which each process takes one; 0: none.
    """

    address: str | None = None
    num_cpus: int | None = None
    num_gpus: int = 0

    def __post_init__(self) -> None:
        if self.num_cpus is not None and self.num_cpus < 1:
            raise InputError(f"--num-cpus is at least 1, not {self.num_cpus}")
        if self.num_gpus < 0:
            raise InputError(f"--num-gpus is at least 0, not {self.num_gpus}")


def spread(
    works: Sequence[Work], make: Callable[[int], Callable[[Work], Found]], cluster: Cluster
) -> Iterator[Found]:
    """Do works in processes of a cluster, and yield what comes of them, in whatever order they end.

    Args:
        works: to do; a work whose process dies is done again.
        make: makes what does them, given how many cores it has; called once in each process.
        cluster: where.

    Raises:
        MissingPackageError: Ray is not installed.
        InputError: there is no such cluster, or it has no free core or GPU; or what a work raised.
        LostProcessError: processes died again and again.
    """
    with _connected(cluster) as ray:
        processes, cores_each = _shares(ray.cluster_resources(), cluster)
        rows = [{"work": pickle.dumps(work)} for work in works]
        found = ray.data.from_items(rows, override_num_blocks=min(len(rows), MOST_BLOCKS)).map(
            _Process,
            fn_constructor_args=(make, cores_each),
            compute=ray.data.ActorPoolStrategy(size=min(processes, len(rows))),
            num_cpus=cores_each,
            num_gpus=1 if cluster.num_gpus else 0,
        )
        try:
            for row in found.iter_rows():
                answer = pickle.loads(row["found"])
                if isinstance(answer, InputError):
                    raise answer
                yield answer
        except (ray.exceptions.RayError, ray.data.exceptions.UserCodeException) as error:
            raise LostProcessError(f"Ray: {_last_line(error)}") from error


class _Process:
    """What Ray Data keeps in each process."""

    def __init__(self, make: Callable[[int], Callable[[Any], Any]], cores_each: int) -> None:
        cores.lower(cores_each)
        self._do = make(cores_each)

    def __call__(self, row: dict[str, bytes]) -> dict[str, bytes]:
        """Do the work of a row."""
        try:
            found = self._do(pickle.loads(row["work"]))
        except InputError as error:
            found = InputError(str(error))  # errors with more arguments do not come out of a pickle
        return {"found": pickle.dumps(found)}


@contextmanager
def _connected(cluster: Cluster) -> Iterator[Any]:
    """Ray, connected to the cluster; one that was started here ends with the body."""
    ray = _ray()
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if cluster.address is None:
        options |= {
            "num_cpus": cluster.num_cpus or cores.usable(),
            "num_gpus": cluster.num_gpus,
            "include_dashboard": False,
        }
    else:
        _refuse_silent(cluster.address)
        options["address"] = cluster.address
    try:
        with _silent_stderr():
            ray.init(**options)
    except (ConnectionError, ValueError, RuntimeError, TimeoutError) as error:
        raise InputError(f"--address {cluster.address}: {_last_line(error)}") from error
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    try:
        yield ray
    finally:
        ray.shutdown()


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keep the line away in which Ray's core says at what level it logs; errors of Ray are raised."""
    try:
        kept = os.dup(2)
    except OSError:  # it is closed
        yield
        return
    try:
        with open(os.devnull, "w") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _refuse_silent(address: str) -> None:
    """Refuse an address at which nothing answers, for which Ray would wait for many minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"--address {address}: nothing answers there ({error})") from error


def _ray() -> Any:
    """Ray with Ray Data; it reports nothing to anybody and says nothing of its own progress."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import ray
            import ray.data
            import ray.data.exceptions
    except ImportError as error:
        raise MissingPackageError('--engine ray needs Ray; pip install "act2sal[scale]"') from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray


def _shares(resources: dict[str, float], cluster: Cluster) -> tuple[int, int]:
    """How many processes there are, and the cores of each.

    Args:
        resources: of the cluster, by Ray's names.
        cluster: what is asked for.
    """
    cpus = min(int(resources.get("CPU", 0)), cluster.num_cpus or int(resources.get("CPU", 0)))
    if cpus < 1:
        raise InputError("the cluster has no core for this")
    if not cluster.num_gpus:
        return cpus, 1
    gpus = int(resources.get("GPU", 0))
    if gpus < 1:
        raise InputError("--num-gpus: the cluster has no GPU")
    processes = min(gpus, cluster.num_gpus, cpus)
    return processes, cpus // processes


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return one_line(lines[-1]) if lines else type(error).__name__

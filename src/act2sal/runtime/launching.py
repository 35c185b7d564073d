"""Starts the processes of a training on this machine, and stops all of them if one ends too early.

The processes find each other by the environment variables that torchrun sets, so that a training started by torchrun
is the same from there on.
"""

import logging
import multiprocessing
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

import torch.distributed as dist

from act2sal.config import ConfigError, TrainConfig
from act2sal.errors import LostProcessError

Result = TypeVar("Result")

GRACE = 2.0
"""Seconds that the other processes have to report their own errors before they are stopped."""

_NODE = ("NODE_RANK", "MASTER_ADDR", "MASTER_PORT")
_GO_ON = "the others were ended too; the same command with --resume goes on"


def launched() -> bool:
    """Whether this process is one of several, started by torchrun or by `run`."""
    return dist.is_available() and dist.is_torchelastic_launched()


def as_launched(config: TrainConfig) -> TrainConfig:
    """`config` with the number of processes and machines that the environment of this process names."""
    if not launched():
        return config
    here, everywhere = int(os.environ["LOCAL_WORLD_SIZE"]), int(os.environ["WORLD_SIZE"])
    return replace(config, devices=here, num_nodes=everywhere // here)


def run(config: TrainConfig, work: Callable[[], Result]) -> Result:
    """Call `work`, which has to be picklable, in `config.devices` new processes; return the result of the first.

    Raises:
        ConfigError: `config.num_nodes` is above 1 and the environment does not say which machine this is.
        LostProcessError: a process was killed, or one on another machine has ended.
        BaseException: the error that `work` raised in one of them.
    """
    environment = _environment(config)
    context = multiprocessing.get_context("spawn")
    processes: list[SpawnProcess] = []
    answers: dict[Connection, int] = {}
    try:
        for number in range(config.devices):
            answer, given = context.Pipe(duplex=False)
            own = environment | _ranks(config, int(environment["GROUP_RANK"]), number)
            process = context.Process(target=_process, args=(own, work, given))
            process.start()
            given.close()
            processes.append(process)
            answers[answer] = number
        return _first_result(answers, processes)
    finally:
        for process in processes:
            process.kill()
            process.join()


def _first_result(answers: dict[Connection, int], processes: Sequence[BaseProcess]) -> Any:
    """Wait for all processes and return the result of the first; raise the error of any that failed."""
    results: dict[int, Any] = {}
    failures: list[BaseException] = []
    while answers and (ready := wait(list(answers), GRACE if failures else None)):
        for answer in ready:
            assert isinstance(answer, Connection)
            number = answers.pop(answer)
            try:
                good, value = answer.recv()
            except EOFError:
                good, value = False, _killed(processes, number)
            if good:
                results[number] = value
            else:
                failures.append(value)
    if failures:
        told = [failure for failure in failures if not isinstance(failure, LostProcessError)]
        killed = [failure for failure in failures if isinstance(failure, _KilledError)]
        raise (told or killed or failures)[0]
    return results[0]


class _KilledError(LostProcessError):
    """A process ended without reporting an error."""


def _killed(processes: Sequence[BaseProcess], number: int) -> LostProcessError:
    processes[number].join()
    status = processes[number].exitcode or 0
    how = f"by signal {-status}" if status < 0 else f"with status {status}"
    return _KilledError(f"process {number + 1} of {len(processes)} on this machine ended {how}; {_GO_ON}")


def _process(environment: Mapping[str, str], work: Callable[[], object], answer: Connection) -> None:
    """Run the work in a new process and send its result or its error to the parent."""
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends its processes
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(format="%(message)s", level=logging.INFO)
    logging.getLogger("lightning_fabric").setLevel(logging.ERROR)
    try:
        answer.send((True, work()))
    except BaseException as error:
        error.add_note(traceback.format_exc())
        answer.send((False, error))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _environment(config: TrainConfig) -> dict[str, str]:
    """Environment variables, named as torchrun names them, that all processes of this machine share."""
    common = {
        "TORCHELASTIC_RUN_ID": "act2sal",
        "WORLD_SIZE": str(config.devices * config.num_nodes),
        "LOCAL_WORLD_SIZE": str(config.devices),
    }
    if config.num_nodes == 1:
        return common | {"GROUP_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
    missing = [name for name in _NODE if name not in os.environ]
    if missing:
        raise ConfigError(
            f"num_nodes {config.num_nodes} needs {', '.join(missing)} in the environment: the number of this machine "
            "from 0, and the address and a free port of machine 0"
        )
    return common | {"GROUP_RANK": os.environ["NODE_RANK"]}


def _ranks(config: TrainConfig, node: int, number: int) -> dict[str, str]:
    return {"LOCAL_RANK": str(number), "RANK": str(node * config.devices + number)}


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port

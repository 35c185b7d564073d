"""The options by which a command runs on a cluster, whose texts are its `--help`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro


def path_or_address(given: str) -> Path:
    """A path as it is given, which may stand for an address of fsspec.

    Of "hdfs:///data", whose host is that of Hadoop's configuration, `Path` would make "hdfs:/data", which might come
    from "hdfs://data" as well; "default" is the name of that host.
    """
    return Path(given.replace("hdfs:///", "hdfs://default/", 1) if given.startswith("hdfs:///") else given)


PathOrAddress = Annotated[
    Path,
    tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="PATH",
        instance_from_str=lambda words: path_or_address(words[0]),
        is_instance=lambda value: isinstance(value, Path),
        str_from_instance=lambda value: [str(value)],
    ),
]
"""Type of options that may name an address of fsspec."""


@dataclass(frozen=True)
class ClusterOptions:
    """Very many photos, on a Ray cluster (pip install "act2sal[scale]"); a call that was stopped goes on."""

    engine: Literal["local", "ray"] = "local"
    """local: this process; ray: the processes of a Ray cluster. What is read and written has to be there for all
    of them; label and predict then also take addresses (s3://, gs://, hdfs://), lists (.txt, .txt.gz, - for standard
    input), WebDataset shards (.tar) and Parquet files."""
    address: Annotated[str | None, tyro.conf.arg(metavar="auto|HOST:PORT")] = None
    """Of the cluster; None: one is started on this machine."""
    num_cpus: int | None = None
    """Cores to use in all, of which each process takes one; None: all there are."""
    num_gpus: int = 0
    """GPUs to use in all, of which each process takes one."""


@dataclass(frozen=True)
class ShardOptions(ClusterOptions):
    """Very many photos, on a Ray cluster (pip install "act2sal[scale]"); a call that was stopped goes on."""

    store: Literal["files", "webdataset", "parquet"] = "files"
    """files: as without a cluster; webdataset: DIR/000000.tar and so on, with a .json beside each result; parquet:
    DIR/000000.parquet and so on, a row for each photo with its results, confidence, boxes, area and error."""
    shard_size: int = 128
    """Photos that a process does in one go, and of which the results are kept together."""


@dataclass(frozen=True)
class LabelShardOptions(ShardOptions):
    """Very many photos, on a Ray cluster (pip install "act2sal[scale]"); a call that was stopped goes on."""

    fit_on: int = 1000
    """Photos that stage 1 is fitted on, on this machine, spread evenly over all; it then labels all of them."""

"""The cluster files of examples/ have the form that Ray and KubeRay ask for, and name commands that parse."""

import json
import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from act2sal.cli.options import PredictOptions
from act2sal.cli.parsing import parsed

FILES = Path(__file__).parents[2] / "examples" / "cluster"


def read(name: str) -> Any:
    return yaml.safe_load((FILES / name).read_text("utf-8"))


def test_the_cluster_file_fits_the_schema_of_ray() -> None:
    found = find_spec("ray")
    assert found is not None
    assert found.origin is not None
    schema = json.loads((Path(found.origin).parent / "autoscaler" / "ray-schema.json").read_text("utf-8"))
    content = read("ray-cluster.yaml")
    jsonschema.validate(content, schema)
    assert content["head_node_type"] in content["available_node_types"]
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "max_workers": "many"}, schema)


def test_the_job_has_what_kuberay_asks_for() -> None:
    job = read("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    groups = [
        job["spec"]["rayClusterSpec"]["headGroupSpec"],
        *job["spec"]["rayClusterSpec"]["workerGroupSpecs"],
    ]
    for group in groups:
        assert all(isinstance(value, str) for value in group["rayStartParams"].values())
        for container in group["template"]["spec"]["containers"]:
            assert re.fullmatch(r"[a-z0-9-]+", container["name"])
            assert container["resources"]["limits"] == container["resources"]["requests"]
    program, command, *words = shlex.split(job["spec"]["entrypoint"])
    assert (program, command) == ("act2sal", "predict")
    options = parsed(PredictOptions, words, "predict")
    assert (options.cluster.engine, options.cluster.address) == ("ray", "auto")

"""Two nodes of a Ray cluster, one core each, for tests: prints the address, then does what its standard input says.

"kill" kills the second node with all that runs on it, and starts another one; the end of the input ends all.
"""

import os
import sys

os.environ |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}  # other tests run beside these

from ray.cluster_utils import Cluster


def main() -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    node = cluster.add_node(num_cpus=1)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(node, allow_graceful=False)
            node = cluster.add_node(num_cpus=1)
            print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()

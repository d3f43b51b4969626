"""`python nodes.py N`: a Ray cluster of N machines with one core each, every one processes of its own; says its address and kills a machine for each line it reads.

Each has a folder of its own for copies, so that two of them share nothing but what $FTHETA_HOME says."""

import os
import sys

os.environ.update(RAY_AUTH_MODE="token", RAY_USAGE_STATS_ENABLED="0")                   # the token comes from the environment

from ray.cluster_utils import Cluster

SMALL = {"object_store_memory": 80 << 20, "include_dashboard": False}

if __name__ == "__main__":
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, **SMALL})
    try:
        copies = [f"{os.environ['XDG_CACHE_HOME']}/{number}" for number in range(int(sys.argv[1]))]
        machines = [cluster.add_node(wait=False, num_cpus=1, env_vars={"XDG_CACHE_HOME": folder}, **SMALL) for folder in copies]
        cluster.wait_for_nodes()
        print(cluster.address, flush=True)
        for _ in sys.stdin:
            cluster.remove_node(machines.pop(), allow_graceful=False)
            print("killed", flush=True)
    finally:
        cluster.shutdown()

"""A Ray cluster of several nodes that are all this machine, with GPUs that are none. For processes of their own.

Ray writes to the terminal and warns as it likes, so no test that makes a warning an error has it in its own process.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@contextmanager
def fake_cluster(n_nodes: int, n_gpus: int = 2, **resources: float) -> Iterator[Any]:
    """The cluster: a head without GPUs, and nodes with a slot and GPUs each, in `worker_nodes`."""
    from ray.cluster_utils import Cluster

    cluster = Cluster()
    try:
        started(cluster, num_cpus=1, include_dashboard=False)
        for _ in range(n_nodes):
            started(cluster, num_cpus=1, num_gpus=n_gpus, resources={"node_slot": 1, **resources})
        yield cluster
    finally:
        cluster.shutdown()


def started(cluster: Any, **options: Any) -> Any:
    """A new node of the cluster, the first one its head. On a busy machine Ray gives up after 15 s; not so this."""
    for _ in range(9):
        try:
            return cluster.add_node(**options)
        except Exception as error:  # noqa: BLE001 Ray raises no other
            print(f"a node did not start: {error}", flush=True)
    return cluster.add_node(**options)


def run_beside(arguments: list[str], directory: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run Python on a module that has Ray in it.

    Every one of Ray's processes imports jsonschema, which takes seconds to read a grammar where the package for it is
    installed, as it is for the tests of exports. They are told that it is not.
    """
    without = directory / "without"
    without.mkdir(exist_ok=True)
    (without / "rfc3987_syntax.py").write_text("raise ImportError('slow, and not needed here')\n")
    own = {"PYTHONPATH": f"{without}{os.pathsep}{ROOT}", "RAY_USAGE_STATS_ENABLED": "0", "OMP_NUM_THREADS": "1"}
    own |= {"RAY_raylet_start_wait_time_s": "200", "RAY_agent_register_timeout_ms": "200000"}  # on a busy machine
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environ, **own},
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )

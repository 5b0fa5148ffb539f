"""The executor on a Ray cluster: this machine's boards, machines reached by SSH, Kubernetes, a Slurm allocation.

    driver: one thread a cell   ->  Ray: places a worker on a node  ->  node: the worker runs a fresh process

Ray finds the node, starts the worker and says when either is gone. The work is a process of its own (`process`), the
results come back as one archive in pieces (`moving`), and whether to try again is the driver's to say, so Ray retries
nothing. By default a cell has its node to itself: every node offers one `node_slot`.
"""

from __future__ import annotations

import importlib.util
import os
import socket
import threading
import time
import uuid
from collections import Counter
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from typing import Any

from harness.errors import EnvironmentFault, UsageError
from harness.records import CellOutcome, PlannedCell
from harness.store.run_directory import write_whole, writing
from harness.sweep.cell.task import CellTask
from harness.sweep.directory import SweepDirectory
from harness.sweep.executors.moving import recover
from harness.sweep.executors.node_worker import IDENTITY, left_of
from harness.sweep.executors.ray_stay import Stay

NODE_SLOT = "node_slot"
START = f"ray start --address HEAD:6379 --resources='{{\"{NODE_SLOT}\": 1}}'"
NO_NODE_S = 600.0
"""A cluster that restarts its nodes has one again within this."""
THREADS_MOST = 4096
KNOCK_S = 20.0


def require_ray() -> Any:
    """Ray, where it is installed.

    Raises:
        EnvironmentFault: It is not.
    """
    if importlib.util.find_spec("ray") is None:
        raise EnvironmentFault("--executor ray: Ray is not installed.", "pip install 'inference-energy-harness[ray]'")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would tell its makers that it is used
    os.environ.setdefault("RAY_ENABLE_AUTO_CONNECT", "0")  # a call after the end would start another Ray
    import ray

    return ray


class RayExecutor:
    """Implements `Executor` on the nodes of a Ray cluster that are alive at the moment."""

    def __init__(
        self,
        directory: SweepDirectory,
        *,
        address: str | None = None,
        use_gpus: bool | None = None,
        pack_nodes: bool = False,
        accelerator_type: str | None = None,
        working_dir: Path | None = None,
        time_limit_s: float | None = None,
        cooldown_c: float | None = None,
        program: tuple[str, ...] = (),
    ) -> None:
        """Connect; nothing runs yet.

        Args:
            directory: Where results go.
            address: Of the cluster; None: RAY_ADDRESS, or a Ray of this machine alone, which ends with the executor.
            use_gpus: Whether each cell gets one GPU; None: where the cluster has any.
            pack_nodes: One cell on each GPU of a node, and not one on each node.
            accelerator_type: Only nodes with such boards, in Ray's spelling: `H100`.
            working_dir: Where relative paths of run files begin, on the nodes too if they have it; None: here.
            time_limit_s: Of one cell's process.
            cooldown_c: To how many degrees a board is let cool down before each of its cells.
            program: What nodes start as `harness`; empty: their own.

        Raises:
            EnvironmentFault: No Ray, no cluster there, or no node of it that cells can be placed on.
            UsageError: Nodes cannot be packed without GPUs.
        """
        self._ray = require_ray()
        self._directory = directory
        self._pack, self._accelerator = pack_nodes, accelerator_type
        self._working_dir = Path.cwd() if working_dir is None else working_dir
        self._time_limit_s, self._cooldown_c, self._program = time_limit_s, cooldown_c, program
        self._stopping = threading.Event()
        self._threads = ThreadPoolExecutor(THREADS_MOST, thread_name_prefix="cell")
        self._stays: dict[Future[CellOutcome], Stay] = {}
        self._without_node_s: float | None = None
        recover(directory.path)
        is_resumed, self._identity = _identity(directory.path)
        _connect(self._ray, address)
        try:
            offered = [node["Resources"] for node in self._alive()]
            self._use_gpus = any("GPU" in each for each in offered) if use_gpus is None else use_gpus
            if pack_nodes and not self._use_gpus:
                raise UsageError("--pack places one cell on each GPU, and there is none.", "Leave --pack out.")
            if self.n_free == 0:
                self._refuse(offered)
            self._left = self._find_left() if is_resumed else {}
        except BaseException:
            self._ray.shutdown()
            raise

    @property
    def n_free(self) -> int:
        """How many cells have room on the nodes that are alive."""
        n_places = sum(self._places(node["Resources"]) for node in self._alive())
        if n_places or self._stays:
            self._without_node_s = None
        elif self._without_node_s is None:
            self._without_node_s = time.monotonic()
        elif time.monotonic() - self._without_node_s > NO_NODE_S:
            return 1  # `submit` says what is wrong
        return max(0, n_places - len(self._stays))

    def submit(self, cell: PlannedCell, attempt: int) -> None:
        """Begin one cell on whichever node is free; on the one that has begun it, if it is alive.

        Raises:
            EnvironmentFault: The cluster has had no node for ten minutes.
        """
        since_s = self._without_node_s
        if since_s is not None and time.monotonic() - since_s > NO_NODE_S:
            raise EnvironmentFault(
                f"The Ray cluster has had no node for cells for {NO_NODE_S / 60:.0f} min.",
                f"See `ray status`; start nodes ({START}), then resume the sweep.",
            )
        task = CellTask(
            cell=cell,
            attempt=attempt,
            run_path=self._directory.run_path(cell),
            log_path=self._directory.log(cell, attempt),
            working_dir=self._working_dir,
            time_limit_s=self._time_limit_s,
            cooldown_c=self._cooldown_c,
            program=self._program,
        )
        stay = self._stay(task)
        self._stays[self._threads.submit(stay.run)] = stay

    def take(self, timeout_s: float) -> tuple[CellOutcome, ...]:
        """What has ended since the last call; its files are in the sweep's directory."""
        if not self._stays:
            if self._without_node_s is not None:
                time.sleep(timeout_s)  # for a node
            return ()
        done, _ = wait(self._stays, timeout_s, FIRST_COMPLETED)
        for future in done:
            del self._stays[future]
        return tuple(future.result() for future in done)

    def running(self) -> tuple[PlannedCell, ...]:
        """What has begun and has not been taken."""
        return tuple(stay.cell for stay in self._stays.values())

    def nodes(self) -> dict[str, str]:
        """By key, the node that a cell is on; not yet placed, it is in none."""
        return {stay.cell.key: stay.node for stay in self._stays.values() if stay.node}

    def stop(self) -> None:
        """Interrupt every cell. `take` tells how each ended; what it has measured comes back first."""
        self._stopping.set()

    def close(self) -> None:
        """Let go of the cluster. Workers that still run are killed, and their cells die with them."""
        self._stopping.set()
        for stay in self._stays.values():
            stay.kill()
        self._threads.shutdown()
        self._stays.clear()
        self._ray.shutdown()

    # ------------------------------------------------------------------------------------ the cluster

    def _alive(self) -> list[dict[str, Any]]:
        return [node for node in self._ray.nodes() if node["Alive"]]

    def _places(self, resources: dict[str, float]) -> int:
        """How many cells a node takes at a time."""
        if self._accelerator is not None and f"accelerator_type:{self._accelerator}" not in resources:
            return 0
        n_gpus = int(resources.get("GPU", 0))
        if self._pack:
            return n_gpus
        return int(resources.get(NODE_SLOT, 0)) if n_gpus or not self._use_gpus else 0

    def _refuse(self, offered: list[dict[str, float]]) -> None:
        types = sorted({name.partition(":")[2] for each in offered for name in each if name.startswith("accelerator_")})
        if self._accelerator is not None and self._accelerator not in types:
            raise EnvironmentFault(
                f"No node of the Ray cluster has {self._accelerator} boards; it has {', '.join(types) or 'none'}.",
                "Name one of these with --accelerator-type, or leave it out.",
            )
        if self._use_gpus and not any("GPU" in each for each in offered):
            raise EnvironmentFault("No node of the Ray cluster has a GPU.", "Start one that has: see `ray status`.")
        raise EnvironmentFault(
            f"No node of the Ray cluster offers {NODE_SLOT!r}, by which a cell has a node to itself.",
            f"Start each node with it: {START}. Or place a cell on each GPU: --pack.",
        )

    def _find_left(self) -> dict[str, str]:
        """Which cells a killed driver has left half finished, and on which nodes."""
        found: dict[str, str] = {}
        look = self._ray.remote(left_of)
        nodes = [node["NodeID"] for node in self._alive() if self._places(node["Resources"])]
        asked = {
            node: look.options(num_cpus=0, max_retries=0, scheduling_strategy=self._at(node)).remote(self._identity)
            for node in nodes
        }
        for node, keys in asked.items():
            with suppress(self._ray.exceptions.RayError):  # it has just gone
                found.update(dict.fromkeys(self._ray.get(keys), node))
        return found

    def _at(self, node: str, *, soft: bool = False) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node, soft=soft)

    def _name(self, node_id: str) -> str:
        """A node's host name, and a part of its id where several nodes are on one host."""
        nodes = self._ray.nodes()
        hosts = Counter(node["NodeManagerHostname"] for node in nodes)
        host = next((node["NodeManagerHostname"] for node in nodes if node["NodeID"] == node_id), "")
        return host if hosts[host] == 1 else f"{host}/{node_id[:6]}"

    # ------------------------------------------------------------------------------------ one cell

    def _stay(self, task: CellTask) -> Stay:
        options: dict[str, Any] = {"num_cpus": 0, "num_gpus": 1 if self._use_gpus else 0}
        if not self._pack:
            options["resources"] = {NODE_SLOT: 1}
        if self._accelerator is not None:
            options["accelerator_type"] = self._accelerator
        if (node := self._left.pop(task.cell.key, None)) is not None:
            options["scheduling_strategy"] = self._at(node, soft=True)
        return Stay(
            self._ray,
            task,
            identity=self._identity,
            options=options,
            use_gpus=self._use_gpus,
            has_neighbours=self._pack,
            stopping=self._stopping,
            name_of=self._name,
        )


def _identity(sweep: Path) -> tuple[bool, str]:
    """Whether a driver has been here before, and the name that no other sweep has."""
    path = sweep / IDENTITY
    if path.exists():
        return True, path.read_text()
    identity = uuid.uuid4().hex
    with writing(sweep):
        write_whole(path, identity)
    return False, identity


def _knock(address: str) -> None:
    """Find out within seconds that nobody is there; Ray would try for many minutes, and say nothing.

    Raises:
        OSError: Nobody is.
    """
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_S).close()


def _connect(ray: Any, address: str | None) -> None:
    """To a cluster, or to a Ray of this machine alone.

    Raises:
        EnvironmentFault: There is none at the address.
    """
    address = address or os.environ.get("RAY_ADDRESS")
    quiet = {"log_to_driver": False, "logging_level": "error"}
    try:
        if address is None:
            ray.init(address="local", resources={NODE_SLOT: 1}, include_dashboard=False, **quiet)
        else:
            _knock(address)
            ray.init(address=address, **quiet)
    except Exception as error:  # Ray raises many, this class itself among them: its node was too slow to start
        raise EnvironmentFault(
            f"No Ray cluster answers at {address or 'this machine'}: {str(error).strip().splitlines()[0]}",
            "See `ray status`. On a node of the cluster its address is `auto`.",
        ) from error

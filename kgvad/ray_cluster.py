"""Work on many items by Ray, on this machine or a cluster. Ray schedules, retries and moves data; we say what to do.

Ray reports its use to its makers unless told not to, and serves a dashboard: both are off here.
"""

from __future__ import annotations

import logging
import os
import re
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgvad.errors import KgvadError, UsageError

logger = logging.getLogger(__name__)

Row = dict[str, Any]  # texts, numbers and bytes by name; what goes from one step to the next
CONNECT_S = 5.0
RETRIES = 2  # of a task whose process or machine was lost


@dataclass(frozen=True)
class RayOptions:
    """Where and with what the work is done.

    Attributes
    ----------
    address
        Of a Ray cluster: ``auto``, or ``HOST:PORT``. ``None``: one on this machine, which ends with the command.
    gpus
        GPUs of each model, also a fraction. ``None``: one where the cluster has any, otherwise none.
    models
        Most copies of the model. ``None``: as many as the cluster has room for.
    """

    address: str | None = None
    gpus: float | None = None
    models: int | None = None


@dataclass(frozen=True)
class Model:
    """A step that keeps a model in memory: ``kind(*arguments)`` is made once a process, and called with each row.

    Attributes
    ----------
    kind
        Class; its instances take a row and return one.
    arguments
        What it is made from. The device is added as the last one.
    """

    kind: type[Any]
    arguments: tuple[Any, ...] = field(default_factory=tuple)


class RayCluster:
    """A connection to Ray; get one with :func:`connected`."""

    def __init__(self, ray: Any, options: RayOptions, device: str) -> None:
        self._ray, self._options = ray, options
        has_gpus = ray.cluster_resources().get("GPU", 0) > 0
        self.gpus = options.gpus if options.gpus is not None else float(has_gpus and device != "cpu")
        if self.gpus and not has_gpus:
            raise UsageError(f"--gpus {self.gpus:g}, and the Ray cluster has no GPU", "leave it out")
        self.device = "cuda" if self.gpus else "cpu"

    def rows(self, items: Sequence[Row], model: Model, before: Callable[[Row], Iterator[Row]] | None = None) -> Any:
        """What ``model`` returns for each item, in the order in which it is finished.

        Parameters
        ----------
        items
            One row for each piece of work.
        model
            The step with the model.
        before
            A step without one, in processes of its own: an item gives any number of rows.

        Raises
        ------
        KgvadError
            The model cannot be made, or the cluster is lost.
        """
        import ray.data

        data: Any = ray.data.from_items(list(items), override_num_blocks=max(1, len(items)))
        with warnings.catch_warnings():  # Ray has no other place for retries; without a limit they go on for ever
            warnings.simplefilter("ignore", DeprecationWarning)
            if before is not None:
                step = _Unbatched(before)
                data = data.map_batches(step, batch_size=1, batch_format="numpy", num_cpus=1, max_retries=RETRIES)
            data = data.map(
                _Worker,
                fn_constructor_args=(model, str(Path.cwd()), self.device),
                compute=ray.data.ActorPoolStrategy(min_size=1, max_size=self._options.models),
                num_cpus=1,
                num_gpus=self.gpus,
                max_task_retries=RETRIES,
                max_restarts=-1,
            )
        try:
            yield from data.iter_rows()
        except self._ray.exceptions.RayError as error:
            raise KgvadError(
                f"the work on Ray failed: {_reason(error)}", "start again when that is repaired"
            ) from error


class _Worker:
    """A model in a process of the cluster, which works in the folder of the caller: relative paths stay right."""

    def __init__(self, model: Model, folder: str, device: str) -> None:
        os.chdir(folder)
        self._model = model.kind(*model.arguments, device)

    def __call__(self, row: Row) -> Row:
        found: Row = self._model(row)
        return found


class _Unbatched:
    """A step on rows as one on batches of one row, which Ray lets yield."""

    def __init__(self, step: Callable[[Row], Iterator[Row]]) -> None:
        self._step = step

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        row = {name: values[0] for name, values in batch.items()}
        for made in self._step(row):
            yield {name: [value] for name, value in made.items()}


@contextmanager
def connected(options: RayOptions, device: str) -> Iterator[RayCluster]:
    """A Ray cluster while the block runs; the work ends with it, however it ends.

    Raises
    ------
    UsageError
        Ray is not installed, or there is no cluster at the address.
    """
    ray = import_ray()
    logging.getLogger("ray").setLevel(logging.ERROR)
    _check_address(options.address)
    place: dict[str, Any] = {"address": options.address}
    if options.address is None:  # one of its own, whatever else runs or ran on this machine
        place = {"address": "local", "include_dashboard": False}
    environment = {name: value for name, value in os.environ.items() if name.startswith("KGVAD_")}
    try:
        ray.init(
            **place,
            log_to_driver=False,
            configure_logging=False,
            runtime_env={"env_vars": environment},
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise _no_cluster(options.address, error) from error
    try:
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        context.max_errored_blocks = -1  # an item that ends its process costs that item only
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)
        nodes, cores = len(ray.nodes()), ray.cluster_resources().get("CPU", 0)
        cluster = RayCluster(ray, options, device)
        logger.info("Ray: %d nodes, %d cores, %g GPUs for each model", nodes, cores, cluster.gpus)
        yield cluster
    finally:
        ray.shutdown()


@contextmanager
def noted_warnings() -> Iterator[list[str]]:
    """Texts of the warnings that kgvad logs in the block; on a cluster they travel to the caller with the result."""
    texts: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: texts.append(record.getMessage())  # type: ignore[method-assign]
    root = logging.getLogger("kgvad")
    root.addHandler(handler)
    try:
        yield texts
    finally:
        root.removeHandler(handler)


def _check_address(address: str | None) -> None:
    """Find out in seconds that nobody listens there; Ray itself tries for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdigit():
        try:
            socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
        except OSError as error:
            raise _no_cluster(address, error) from error


def _no_cluster(address: str | None, error: BaseException) -> UsageError:
    where = f" at --address {address}" if address else ", and none could be started here"
    return UsageError(f"no Ray cluster{where}: {_reason(error)}", "start one with: ray start --head")


def import_ray() -> Any:
    """Ray, without reports of its use to its makers.

    Raises
    ------
    UsageError
        It is not installed.
    """
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"  # read when Ray is started, here and by the processes it starts
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a warning less
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    os.environ.setdefault("RAY_worker_niceness", "0")  # with Ray's 15 they wait for whatever else runs
    try:
        import ray
        import ray.data
    except ModuleNotFoundError as error:
        raise UsageError("--engine ray needs Ray", "install it with: pip install 'kgvad[ray]'") from error
    return ray


def _reason(error: BaseException) -> str:
    """Last line of a message of Ray, which is many lines long; of our own errors on a node, what they say."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return re.sub(r"^kgvad\.errors\.\w+: ", "", last)[:300]

"""Data parallelism: Lightning's DDP on one machine, with a process for each device.

The run's own process has the first device. It starts one for each other device, which trains on its
share of every batch, writes nothing, and ends with the run's.
"""

import contextlib
import json
import logging
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, TypeVar

import torch
from lightning_fabric.plugins.environments.lightning import LightningEnvironment
from pytorch_lightning.strategies import DDPStrategy
from pytorch_lightning.strategies.launchers.launcher import _Launcher
from torch import distributed

from pneumo import cli
from pneumo.training.config import Config

log = logging.getLogger("pneumo")
READY = b"ready\n"
SECONDS = 10.0  # that a process has to end, or to notice that another one has ended
LOST = re.compile("gloo|NCCL|Connection closed")  # of the errors that this causes
# The program of another device's process; it ends when its parent does
PROGRAM = (
    "from pneumo.training.sweep import end_with; end_with({parent})\n"
    "from pneumo.training.fit import train_share; train_share()"
)
T = TypeVar("T")


def num_threads(num_devices: int) -> int:
    """Returns the threads of each device's process: an equal share of this one's, at least 1."""
    return max(1, torch.get_num_threads() // num_devices)


def gathered(values: T) -> list[T]:
    """Returns the values of all devices' processes, in their order; with one device, its own.

    Tensors in them must be on the CPU.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return [values]
    parts = [values] * distributed.get_world_size()
    distributed.all_gather_object(parts, values)
    return parts


class DataParallel(DDPStrategy):
    """DDP whose other processes are those of `Processes`.

    Looking for unused parameters lets Finetune freeze layers. It also keeps the order in which
    gradients are added up, which DDP otherwise changes after its first step: a resumed run would
    differ from an uninterrupted one.

    Args:
        config: of the run.
    """

    def __init__(self, config: Config):
        super().__init__(cluster_environment=LightningEnvironment(), find_unused_parameters=True)
        self.config = config

    def _configure_launcher(self) -> None:
        if self.local_rank == 0:  # the run's own process
            assert isinstance(self.cluster_environment, LightningEnvironment)
            self._launcher = Processes(self.config, self.num_processes, self.cluster_environment)


class Processes(_Launcher):
    """Starts a process for each device but the first, and ends them after the training.

    They build everything again from the configuration. A fork could use neither a GPU nor several
    threads, and Lightning's own launcher would run the whole command again, all of a sweep.

    Args:
        config: as of DataParallel.
        number: of devices.
        environment: has the address at which the processes meet.
    """

    is_interactive_compatible = True  # in notebooks

    def __init__(self, config: Config, number: int, environment: LightningEnvironment):
        self.config, self.number, self.environment = config, number, environment
        self.others: list[tuple[subprocess.Popen[bytes], IO[bytes]]] = []  # with standard errors

    def launch(
        self, function: Callable[..., T], *args: Any, trainer: Any = None, **kwargs: Any
    ) -> T:
        """Returns the result of Lightning's ``function``, which trains.

        Raises:
            ValueError: another process has ended.
        """
        threads, ended = torch.get_num_threads(), threading.Event()
        torch.set_num_threads(num_threads(self.number))
        try:
            self.start()
            threading.Thread(target=self.watch, args=(ended,), daemon=True).start()
            result = function(*args, **kwargs)
            for process in self.others:
                failure(*process)  # which waits for its end
            return result
        except RuntimeError as error:
            if LOST.search(str(error)) and (message := self.lost()):
                raise ValueError(message) from None
            raise
        finally:
            self.stop()
            torch.set_num_threads(threads)
            ended.set()

    def start(self) -> None:
        """Starts the processes and waits until they have built everything."""
        config = self.config.plain() | {"num_threads": torch.get_num_threads()}
        config["trainer"] |= {"enable_progress_bar": False, "profiler": None}
        rendezvous = {
            "MASTER_ADDR": self.environment.main_address,
            "MASTER_PORT": str(self.environment.main_port),
            "PYTHONPATH": os.pathsep.join(path or str(Path.cwd()) for path in sys.path),
        }
        for rank in range(1, self.number):
            stderr = tempfile.TemporaryFile()  # noqa: SIM115  (closed in stop)
            popen = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM.format(parent=os.getpid())],
                env={**os.environ, **rendezvous, "LOCAL_RANK": str(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
            )
            self.others.append((popen, stderr))
            assert popen.stdin
            with popen.stdin:
                popen.stdin.write(json.dumps(config).encode())
        for popen, _ in self.others:
            assert popen.stdout
            with popen.stdout as stdout:
                if not stdout.read().endswith(READY):
                    raise ValueError(self.lost())

    def watch(self, ended: threading.Event) -> None:
        """Ends this process where another has ended and its own training does not notice it.

        That is so while they connect, and with NCCL, which waits for minutes.
        """
        while not ended.wait(1):
            if any(popen.poll() for popen, _ in self.others) and not ended.wait(SECONDS):
                log.error("Error: %s", self.lost())
                os._exit(cli.MISTAKE)

    def lost(self) -> str | None:
        """Returns which process has failed, and why; None if none has."""
        all_ends = {rank: failure(*process) for rank, process in enumerate(self.others, 1)}
        ends = {rank: end for rank, end in all_ends.items() if end}
        if not ends:
            return None
        rank = min(ends, key=lambda rank: bool(LOST.search(ends[rank])))  # it ended the others
        return (
            f"a run needs a process for each device; that of device {rank} {ends[rank]}. Resume "
            f"with: python -m pneumo.train {shlex.quote(f'resume={self.config.run_dir}')}"
        )

    def stop(self) -> None:
        """Ends the processes, and the connection to them."""
        for popen, stderr in self.others:
            popen.kill()
            popen.wait()
            stderr.close()
        self.others = []
        if distributed.is_initialized():
            distributed.destroy_process_group()
        for name in ("MASTER_ADDR", "MASTER_PORT"):  # set by Lightning, here too
            os.environ.pop(name, None)

    def kill(self, signum: Any) -> None:
        """Ends the run as Ctrl-C does: Lightning calls this at SIGTERM."""
        raise KeyboardInterrupt


def failure(popen: "subprocess.Popen[bytes]", stderr: IO[bytes]) -> str | None:
    """Returns how a process failed; None if it has not, or is still running after some time."""
    with contextlib.suppress(subprocess.TimeoutExpired):
        popen.wait(SECONDS)
    code = popen.returncode
    if not code:
        return None
    if code < 0:
        return f"was killed by {signal.Signals(-code).name}"
    stderr.seek(0)
    lines = stderr.read().decode(errors="replace").strip().split("\n")
    return f"ended: {lines[-1].removeprefix('ValueError: ') or f'exit code {code}'}"

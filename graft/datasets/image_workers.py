"""Decoding of many image files on all processors.

Small files cost more Python than C, so that threads would wait for one another: the work is done
by processes. They run this file and nothing else, where multiprocessing would have each of them
import the main program again, and they ignore what it does with threads or with TensorFlow.
"""

import gc
import json
import os
import signal
import struct
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from queue import SimpleQueue
from typing import IO, TypeAlias

import numpy as np

from graft.core.errors import GraftError
from graft.datasets.image_files import Pixels, decode_batch

File: TypeAlias = tuple[str, bytes]
Result: TypeAlias = tuple[str, Pixels | GraftError]
_Size: TypeAlias = tuple[int, int, int]
_Decoded: TypeAlias = tuple[Pixels, dict[int, str]]

# Starting processes takes a third of a second: the first batches are decoded without them.
_BATCHES_BEFORE_WORKERS = 4
_MAX_BATCH_FILES = 256
_MAX_BATCH_BYTES = 8 << 20
_MAX_WORKERS = 16


def decode_all(
    files: Iterable[File], height: int, width: int, channels: int, workers: int | None = None
) -> Iterator[Result]:
    """Decode many files, and yield them in the order in which they came.

    `files` is read only a few batches ahead: memory does not grow with their number.

    Parameters
    ----------
    files
        Names and contents.
    workers
        The number of processes; None for one per processor, 0 to decode in this one.

    Yields
    ------
    The name, and the pixels as from `graft.datasets.image_files.decode`, or the error that
    it would raise.
    """
    size = (height, width, channels)
    batches = _batches(files, height * width * channels)
    workers = min(len(os.sched_getaffinity(0)), _MAX_WORKERS) if workers is None else workers
    for batch in islice(batches, _BATCHES_BEFORE_WORKERS) if workers > 1 else batches:
        yield from _named(batch, decode_batch(_contents(batch), *size))
    first = next(batches, None)
    if first is not None:
        yield from _decode_in_processes(first, batches, size, workers)


def _decode_in_processes(
    first: list[File], others: Iterator[list[File]], size: _Size, workers: int
) -> Iterator[Result]:
    processes = [_Process(size) for _ in range(workers)]
    idle: SimpleQueue[_Process] = SimpleQueue()
    for process in processes:
        idle.put(process)

    def decoded(batch: list[File]) -> _Decoded:
        process = idle.get()
        try:
            return process.decode(_contents(batch))
        finally:
            idle.put(process)

    threads = ThreadPoolExecutor(workers)  # one waits for each process
    try:
        pending: deque[tuple[list[File], Future[_Decoded]]] = deque()
        batch: list[File] | None = first
        while batch or pending:
            if batch:
                pending.append((batch, threads.submit(decoded, batch)))
                batch = next(others, None)
            if batch is None or len(pending) > workers + 2:
                oldest, future = pending.popleft()
                yield from _named(oldest, future.result())
    finally:
        threads.shutdown(cancel_futures=True)
        for process in processes:
            process.close()


class _Process:
    """A process that runs `_serve`."""

    def __init__(self, size: _Size) -> None:
        self._size = size
        self._process = subprocess.Popen(  # noqa: S603 (runs this file)
            [sys.executable, "-m", "graft.datasets.image_workers", *map(str, size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join(path or "." for path in sys.path),
                "OPENBLAS_NUM_THREADS": "1",
            },
        )

    def decode(self, contents: Sequence[bytes]) -> _Decoded:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        try:
            _send(self._process.stdin, contents)
            pixels, faults = _receive(self._process.stdout)
        except (BrokenPipeError, EOFError):
            raise GraftError(
                "a process that decodes images ended, most likely for want of memory; free some "
                "memory or make the images smaller, then try again"
            ) from None
        array = np.frombuffer(pixels, np.uint8).reshape(len(contents), *self._size)
        return array, {int(place): fault for place, fault in json.loads(faults).items()}

    def close(self) -> None:
        self._process.terminate()
        self._process.communicate()


def _serve(size: _Size) -> None:
    """Decode batches from standard input to standard output until there are no more."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent closes the pipe when interrupted
    # Collecting while decoding takes a tenth of the time; between the batches it is enough, and
    # then of what the last batch left.
    gc.freeze()
    gc.disable()
    while True:
        try:
            contents = _receive(sys.stdin.buffer)
        except EOFError:
            return
        pixels, faults = decode_batch(contents, *size)
        _send(sys.stdout.buffer, [pixels.tobytes(), json.dumps(faults).encode()])
        gc.collect(0)


def _send(file: IO[bytes], parts: Sequence[bytes]) -> None:
    file.write(struct.pack(f"<I{len(parts)}Q", len(parts), *map(len, parts)))
    for part in parts:
        file.write(part)
    file.flush()


def _receive(file: IO[bytes]) -> list[bytes]:
    (count,) = struct.unpack("<I", _exactly(file, 4))
    sizes = struct.unpack(f"<{count}Q", _exactly(file, 8 * count))
    return [_exactly(file, size) for size in sizes]


def _exactly(file: IO[bytes], size: int) -> bytes:
    content = file.read(size)
    if len(content) < size:
        raise EOFError
    return content


def _batches(files: Iterable[File], decoded_size: int) -> Iterator[list[File]]:
    most = max(1, min(_MAX_BATCH_FILES, _MAX_BATCH_BYTES // decoded_size))
    batch: list[File] = []
    size = 0
    for file in files:
        batch.append(file)
        size += len(file[1])
        if len(batch) == most or size > _MAX_BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _contents(batch: list[File]) -> list[bytes]:
    return [content for _, content in batch]


def _named(batch: list[File], decoded: _Decoded) -> Iterator[Result]:
    pixels, faults = decoded
    for place, (name, _) in enumerate(batch):
        fault = faults.get(place)
        yield name, pixels[place] if fault is None else GraftError(f"{name} {fault}")


if __name__ == "__main__":
    _serve((int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))

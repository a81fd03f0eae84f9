"""Starts the local cloud (ministack) for `hotline up`, with its known traps dealt with.

    python cloud.py --state DIR --port 4566 [--bind 127.0.0.1] [--snapshot-s 30]

The environment is expected to be clean (functions inherit it). Prints `ready` on standard
output once the port answers. SIGTERM and SIGINT save the state and exit 0.

Exit codes: 2 wrong arguments or version, 3 a damaged state folder.
"""

import argparse
import json
import os
import pathlib
import shutil
import socket
import socketserver
import sys
import threading
import time

VERSION = "1.5.33"


def refuse(code: int, message: str) -> None:
    print(f"cloud: {message}", file=sys.stderr, flush=True)
    raise SystemExit(code)


def check_version() -> None:
    from importlib.metadata import PackageNotFoundError, version

    try:
        found = version("ministack")
    except PackageNotFoundError:
        refuse(2, f"the package ministack is missing: pip install 'ministack[full]=={VERSION}'")
    if found != VERSION:
        refuse(2, f"ministack {found} is installed, {VERSION} is needed (its internals are relied on)")


def check_state(folder: pathlib.Path) -> None:
    """ministack skips a file it cannot read and starts empty: that would look like lost data."""
    damaged = []
    for file in sorted(folder.glob("*.json")):
        try:
            json.loads(file.read_text())
        except (ValueError, OSError) as error:
            damaged.append(f"{file}: {error}")
    if damaged:
        kept = folder.with_name(folder.name + ".previous")
        remedy = f"restore it from {kept}, or start afresh with `hotline reset`" if kept.is_dir() else (
            "start afresh with `hotline reset`"
        )
        refuse(3, "the state folder is damaged; nothing was started.\n  " + "\n  ".join(damaged) + f"\n  {remedy}")


def keep_previous(folder: pathlib.Path) -> None:
    """A readable state is copied aside before this run may change it."""
    if any(folder.glob("*.json")):
        kept = folder.with_name(folder.name + ".previous")
        fresh = folder.with_name(folder.name + ".copying")
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.copytree(folder, fresh)
        shutil.rmtree(kept, ignore_errors=True)
        fresh.rename(kept)


def forget_stream_positions(folder: pathlib.Path) -> None:
    """Positions in table streams persist but the records do not: kept positions lose events."""
    file = folder / "lambda.json"
    if not file.exists():
        return
    whole = json.loads(file.read_text())
    positions = whole.get("payload", whole).get("dynamodb_stream_positions")
    if isinstance(positions, dict) and positions.get("data"):
        positions["data"] = {}
        fresh = file.with_suffix(".new")
        fresh.write_text(json.dumps(whole))
        fresh.replace(file)


def shorten_log_wait() -> None:
    """Each invoke of a silent handler waits 50 ms for a first log line; 1 ms is enough here."""
    from ministack.core import lambda_runtime

    patched = 0
    for item in vars(lambda_runtime).values():
        function = getattr(item, "__dict__", {}).get("_drain_stderr_bounded") if isinstance(item, type) else None
        if function is not None:
            if function.__defaults__ != (0.050, 0.005, 0.250):
                refuse(2, f"ministack's log wait has changed: {function.__defaults__}")
            function.__defaults__ = (0.001, 0.001, 0.050)
            patched += 1
    if patched == 0:
        refuse(2, "ministack's log wait was not found; the pinned version must have changed")


def announce_when_ready(bind: str, port: int) -> None:
    def wait() -> None:
        for _ in range(600):
            with socket.socket() as probe:
                probe.settimeout(1)
                if probe.connect_ex((bind, port)) == 0:
                    print("ready", flush=True)
                    return
            time.sleep(0.05)

    threading.Thread(target=wait, daemon=True).start()


def snapshot_regularly(seconds: float) -> None:
    """State is written on a clean exit only; a regular copy bounds what a kill can lose."""

    def run() -> None:
        from ministack import app
        from ministack.core import persistence

        while True:
            time.sleep(seconds)
            try:
                persistence.save_all(app._build_persistence_save_dict())
            except Exception as error:  # the next round tries again
                print(f"cloud: snapshot skipped: {error}", file=sys.stderr, flush=True)

    threading.Thread(target=run, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--state", type=pathlib.Path, required=True, help="folder for state, objects and temporary files")
    parser.add_argument("--port", type=int, default=4566)
    parser.add_argument("--bind", default="127.0.0.1")
    parser.add_argument("--region", default="us-east-1")
    parser.add_argument("--snapshot-s", type=float, default=30.0)
    parser.add_argument("--check", action="store_true", help="only check version and state folder")
    options = parser.parse_args()

    tables = options.state / "state"
    scratch = options.state / "tmp"
    for folder in (tables, options.state / "objects", scratch):
        folder.mkdir(parents=True, exist_ok=True)
    check_version()
    check_state(tables)
    if options.check:
        return
    keep_previous(tables)
    forget_stream_positions(tables)

    os.environ.update(
        GATEWAY_PORT=str(options.port),
        BIND_HOST=options.bind,
        MINISTACK_REGION=options.region,
        AWS_DEFAULT_REGION=options.region,
        PERSIST_STATE="1",
        STATE_DIR=str(tables),
        S3_PERSIST="1",
        S3_DATA_DIR=str(options.state / "objects"),
        IOT_MTLS_ENABLED="0",
        SFTP_ENABLED="0",
        TMPDIR=str(scratch),
        DOCKER_HOST="unix:///nonexistent",
    )
    os.environ.setdefault("LOG_LEVEL", "WARNING")
    shorten_log_wait()
    # The runtime API writes headers and body apart: together with delayed ACKs that is 40 ms.
    socketserver.StreamRequestHandler.disable_nagle_algorithm = True
    announce_when_ready(options.bind, options.port)
    if options.snapshot_s > 0:
        snapshot_regularly(options.snapshot_s)

    from ministack.app import main as serve

    sys.argv = ["ministack"]
    serve()


if __name__ == "__main__":
    main()

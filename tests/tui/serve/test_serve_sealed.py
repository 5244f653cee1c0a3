"""A sealed process: each way to change something is refused, whatever code tries it, and looking goes on."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from serve_for_tests import ROOT, WAIT

TRIES = """
import json, os, shutil, signal, socket, sqlite3, subprocess, sys, tempfile, time
from pathlib import Path
from engine.control.client import ControlClient
from engine.files import UserError, make_folder, open_cached, overwrite, write_atomic, write_output
from tui.serve.sealed import seal

folder = Path(sys.argv[1])
kept = folder / "kept"
seal()

changes = {
    "open w": lambda: open(kept, "w"),
    "open a": lambda: open(kept, "ab"),
    "open +": lambda: open(kept, "r+"),
    "open x": lambda: open(folder / "new", "x"),
    "opener": lambda: open(kept, "w", opener=lambda path, flags: os.open(path, flags)),
    "os.open": lambda: os.open(kept, os.O_WRONLY),
    "os.open create": lambda: os.open(folder / "new", os.O_RDONLY | os.O_CREAT),
    "write_text": lambda: kept.write_text("x"),
    "touch": lambda: (folder / "new").touch(),
    "touch again": lambda: os.utime(kept),
    "mkdir": lambda: (folder / "new").mkdir(),
    "makedirs": lambda: os.makedirs(folder / "new" / "newer"),
    "unlink": kept.unlink,
    "rmdir": lambda: (folder / "sub").rmdir(),
    "rename": lambda: kept.rename(folder / "new"),
    "replace": lambda: os.replace(kept, folder / "new"),
    "link": lambda: os.link(kept, folder / "new"),
    "symlink": lambda: os.symlink(kept, folder / "new"),
    "truncate": lambda: os.truncate(kept, 0),
    "chmod": lambda: kept.chmod(0),
    "rmtree": lambda: shutil.rmtree(folder),
    "copy": lambda: shutil.copy(kept, folder / "new"),
    "temporary": lambda: tempfile.TemporaryFile(dir=folder),
    "sqlite": lambda: sqlite3.connect(folder / "new"),
    "write_atomic": lambda: write_atomic(kept, b"x"),
    "write_output": lambda: write_output(kept, b"x"),
    "open_cached": lambda: open_cached(folder / "cache" / "x").__enter__(),
    "overwrite": lambda: overwrite(kept, b"x"),
    "make_folder": lambda: make_folder(folder / "new"),
    "process": lambda: subprocess.Popen(["true"]),
    "system": lambda: os.system("true"),
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
    "fork": os.fork,
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "kill": lambda: os.kill(os.getppid(), signal.SIGTERM),
    "killpg": lambda: os.killpg(os.getpgid(os.getppid()), signal.SIGTERM),
    "bind": lambda: socket.socket().bind(("127.0.0.1", 0)),
    "connect": lambda: socket.create_connection(("127.0.0.1", 9)),
}
let_through = []
for name, change in changes.items():
    try:
        change()
        let_through.append(name)
    except (OSError, UserError) as error:
        if "only looks" not in str(error):
            let_through.append(f"{name}: {error}")


class Place:
    path, lock, name, live = folder, folder / "lock", "r", True


told = {}
lock = folder / "lock"
for do in ("pause", "resume", "stop", "checkpoint", "sample", "learning_rate", "prompt", "ping"):
    fields = {"learning_rate": {"value": 1.0}, "prompt": {"prompt": ""}}.get(do, {})
    try:
        told[do] = ControlClient(Place()).send(do, **fields)
    except UserError as error:
        told[do] = str(error)

with open(kept) as file:
    looked = [file.read(), os.listdir(folder) != [], kept.stat().st_size > 0]
os.kill(os.getpid(), 0)
with open(os.devnull, "w") as nothing:
    nothing.write("x")
import email.mime.audio  # of what was not imported before
print(json.dumps({"let_through": let_through, "looked": looked, "told": told}))
"""


def test_nothing_is_changed_and_everything_is_looked_at(tmp_path: Path) -> None:
    import socket
    import threading

    (tmp_path / "kept").write_text("as it was")
    (tmp_path / "sub").mkdir()
    with socket.socket(socket.AF_UNIX) as trainer:
        path = str(tmp_path / "sock")
        trainer.bind(path)
        trainer.listen(8)
        owner = {"pid": 1, "host": socket.gethostname(), "socket": path}
        (tmp_path / "lock").write_text(json.dumps(owner) + "\n")
        heard: list[str] = []

        def answer() -> None:
            while True:
                try:
                    connection, _ = trainer.accept()
                except OSError:
                    return
                with connection:
                    if line := connection.makefile("rb").readline():
                        heard.append(json.loads(line)["do"])
                        connection.sendall(b'{"ok": true}\n')

        threading.Thread(target=answer, daemon=True).start()
        before = {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")}
        done = subprocess.run(
            [sys.executable, "-c", TRIES, str(tmp_path)], capture_output=True, text=True, timeout=WAIT, cwd=ROOT
        )
        trainer.shutdown(socket.SHUT_RDWR)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert result["let_through"] == []
    assert all(result["looked"])
    assert sorted(heard) == ["ping", "prompt"]
    assert all(("only looks" in str(said)) == (do not in heard) for do, said in result["told"].items())
    assert {each: each.stat().st_mtime_ns for each in tmp_path.rglob("*")} == before

"""`tinytui serve`: the workbench in a browser."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Annotated

import typer

from engine.errors import UserError
from engine.process import command
from tui.cli.options import CorporaDir, Json, RunsDir
from tui.cli.output import complain, print_json, say

PORT = 8000


def serve(
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    host: Annotated[str, typer.Option("--host", metavar="ADDRESS", help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", metavar="N", min=0, max=65535, help="0: any that is free.")] = PORT,
    name: Annotated[
        list[str] | None, typer.Option("--name", metavar="NAME", help="Another name it is reached by; repeatable.")
    ] = None,
    allow_control: Annotated[
        bool, typer.Option("--allow-control", help="Let the browser train, stop, change and delete.")
    ] = False,
    sessions: Annotated[int, typer.Option("--sessions", metavar="N", min=1, max=32, help="Browsers at a time.")] = 4,
    idle: Annotated[int, typer.Option("--idle", metavar="MINUTES", min=1, help="End a session without keys.")] = 120,
    as_json: Json = False,
) -> None:
    """The workbench in a browser, behind a secret link; it only looks, unless --allow-control."""
    try:
        from tui.serve.gate import Gate, is_loopback, names_of, new_token
        from tui.serve.limits import Limits
        from tui.serve.run import link, listen
        from tui.serve.run import serve as serve_until_asked
    except ImportError as error:
        if (error.name or "").partition(".")[0] in ("tui", "engine"):
            raise
        raise UserError("the browser's side is not installed; pip install 'tinytui[serve]'") from None
    gate = Gate(new_token(), names_of(host, name or ()))
    listening = listen(host, port)
    address, number = link(listening, host, gate.token), listening.getsockname()[1]

    def ready() -> None:
        if as_json:
            print_json({"url": address, "host": host, "port": number, "allow_control": allow_control}, indent=None)
            return
        say(f"open {address}")
        if os.environ.get("SSH_CONNECTION") and is_loopback(host):
            say(f"from your own machine, through: ssh -L {number}:{host}:{number} THIS-MACHINE", err=True)
        if not is_loopback(host):
            say("the network between can read all of it, the link too; an ssh tunnel to 127.0.0.1 hides it", err=True)
        say(f"{'it may train, change and delete' if allow_control else 'it only looks'}; Ctrl-C ends it", err=True)

    ending = serve_until_asked(
        gate,
        Limits(sessions=sessions, idle=60.0 * idle),
        session_command(runs, corpora, allow_control),
        listening,
        may_train=allow_control,
        ready=ready,
        report=complain,
    )
    say("tinytui: the browser's side has ended", err=True)
    raise typer.Exit(0 if ending == signal.SIGINT else 128 + ending)


def session_command(runs: Path, corpora: Path | None, allow_control: bool) -> list[str]:
    """The command of one browser's workbench."""
    folders = ["--runs", str(runs), *(["--corpora", str(corpora)] if corpora is not None else [])]
    return command("tui.cli", "serve-session", *folders, *(["--allow-control"] if allow_control else []))


def serve_session(
    runs: RunsDir = Path("runs"),
    corpora: CorporaDir = None,
    allow_control: Annotated[bool, typer.Option("--allow-control")] = False,
) -> None:
    """One browser's workbench, with packets on stdin and stdout."""
    from tui import app

    if not allow_control:
        from tui.serve.sealed import seal

        seal()
    if code := app.open_workbench(runs, corpora, read_only=not allow_control):
        raise typer.Exit(code)

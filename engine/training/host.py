"""The thread that trains: it holds the run's lock, serves its socket, and ends in order.

A process hosts a run by making a `TrainingHost`; a screen never talks to it but through the run directory and the
socket, whether it is in the same process or not.
"""

from __future__ import annotations

import threading
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.control import CommandQueue, ControlServer
from engine.errors import RunError, TrainingError, UserError, is_out_of_memory
from engine.runs.layout import RunDir
from engine.runs.status import read_config, read_info
from engine.runs.writer import RunWriter
from engine.training.start import open_dataset

if TYPE_CHECKING:
    from engine.training.trainer import Trainer


class TrainingHost:
    """Trains `run` in a thread of its own, from its newest good checkpoint or from the start."""

    def __init__(
        self, run: RunDir, *, device: str | None = None, corpora_dir: Path | None = None, in_group: bool = False
    ) -> None:
        """in_group: train with the other processes that `torchrun` started with this one, which has rank 0."""
        self.run, self.device, self.corpora_dir, self.in_group = run, device, corpora_dir, in_group
        self.commands = CommandQueue()
        self.error: str | None = None
        self.state: str | None = None
        """How it ended: finished, stopped or failed; None while it lives."""
        self.begun = False
        """Whether it has come to the first step, so that there may be something to save."""
        self._writer = RunWriter(run)
        self._thread = threading.Thread(target=self._run, name=f"train-{run.name}")

    def start(self) -> None:
        """Take the lock and begin. Raises LockedError when another trainer has the run, UserError for a full disk."""
        writer = self._writer
        writer.__enter__()
        try:
            writer.status(state="running", phase="loading torch", problem=None)
            writer.check()  # nothing is lost yet; and a status that stands can be written over without any room
        except UserError:
            writer.close()
            raise
        self._thread.start()

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, checkpoint: bool = True) -> None:
        """Ask it to end at the next step boundary; `join` waits for it."""
        self.commands.put({"do": "stop", "checkpoint": checkpoint})

    def join(self, timeout: float | None = None) -> None:
        self._thread.join(timeout)

    def give_up(self, why: str) -> None:
        """Say in the status that the run ends here, whatever its thread is doing; the process must end right after."""
        self._writer.status(state="stopped", phase="", message=why, problem=why)
        self._writer.close()  # from here on the thread writes nothing more into the status

    def untold(self) -> dict[str, Any]:
        """The run's status where it cannot be written; empty while who reads the run reads it."""
        return self._writer.untold()

    def _run(self) -> None:
        writer = self._writer
        try:
            self.state = self._train(writer)
        except UserError as error:
            self._fail(str(error))
        except Exception as error:
            if is_out_of_memory(error):
                self._fail("out of memory: the model and its optimizer do not fit; lower model.n_layer or model.n_embd")
            else:
                import traceback

                trace = traceback.format_exc()
                self._fail(f"{type(error).__name__}: {' '.join(str(error).split())}", traceback=trace)
        finally:
            writer.close()

    def _fail(self, message: str, **fields: Any) -> None:
        self.error, self.state = message, "failed"
        with suppress(UserError):  # a full disk has no room for its own obituary
            self._writer.event("error", -1, message=message, **fields)
        self._writer.status(state="failed", phase="", message=message, problem=message)

    def _train(self, writer: RunWriter) -> str:
        from engine.training.live import LivePrompter
        from engine.training.ranks import LostRankError

        trainer = self._prepare(writer)
        crew = trainer.crew
        prompter = LivePrompter(trainer.live, crew.build, trainer.dataset.tokenizer)
        server = ControlServer(self.run, self.commands, prompter, lambda: writer.stuck)
        try:
            try:
                writer.serve_at(server.start())
            except RunError as error:  # training matters more than talking to it
                writer.event("alarm", trainer.step, alarm="control", message=str(error))
            try:
                self.begun = True
                ended = trainer.run()
                crew.end()
                return ended
            except LostRankError as error:
                trainer.samples.beside.give_up()
                if not crew.sharded and trainer.step > 0 and trainer.checkpoint_step != trainer.step:
                    trainer.checkpoint()  # this rank has all of it
                steps = self.run.checkpoint_steps()
                last = f"the checkpoint of step {steps[-1]} stands" if steps else "there is no checkpoint yet"
                raise TrainingError(f"{error}; {last}, go on with tinytui train --resume {self.run.name}") from None
            except TrainingError as error:
                if trainer.step > 0 and trainer.checkpoint_step != trainer.step:
                    try:
                        trainer.checkpoint()
                    except UserError as unsaved:
                        raise TrainingError(f"{error}; and {unsaved}") from None
                raise
        finally:
            trainer.live.end()
            server.stop()
            crew.ranks.leave()

    def _prepare(self, writer: RunWriter) -> Trainer:
        """The trainer, restored; with others, when they have come."""
        from engine.training.checkpoint import newest_good
        from engine.training.crew import Crew, Job
        from engine.training.device import ready_device
        from engine.training.live import LiveWeights
        from engine.training.memory import choose_parallel
        from engine.training.precision import choose
        from engine.training.ranks import ALONE, Ranks
        from engine.training.saving import remove_orphans
        from engine.training.state import environment, evaluates, restore
        from engine.training.trainer import Trainer

        info = read_info(self.run)
        config = read_config(self.run)
        name = self.device or (info.get("environment") or {}).get("device") or "auto"
        if self.in_group:
            writer.status(phase="waiting for the other processes")
        ranks = Ranks.join() if self.in_group else ALONE
        device = ready_device(ranks.device_name(name), config.train.precision)
        writer.status(phase="reading the corpus")
        remove_orphans(self.run)
        checkpoint, problems = newest_good(self.run, in_parts=not ranks.alone)
        dataset = open_dataset(self.run, self.corpora_dir, checkpoint.tokenizer if checkpoint else None)
        dataset.check(config.model.block_size)
        if config.train.precision == "auto":
            writer.status(phase="choosing the precision")
            choice = choose(config, dataset, device)
            config = config.replace({"train.precision": choice.precision})
            writer.describe(config=config.model_dump(mode="json"))
            writer.event("precision", checkpoint.step if checkpoint else 0, **choice._asdict())
        parallel = choose_parallel(config, dataset.tokenizer.vocab_size, str(device), ranks.size)
        drawn = checkpoint is None
        tokenizer = dataset.tokenizer.to_dict()
        ranks.share(Job(self.run.path.absolute(), self.corpora_dir, config, name, tokenizer, drawn, parallel))
        ranks.introduce(str(device))
        crew = Crew(config, dataset, device, ranks, drawn=drawn, parallel=parallel)
        trainer = Trainer(writer, crew, self.commands, LiveWeights())
        for problem in problems:
            writer.event("alarm", checkpoint.step if checkpoint else 0, alarm="checkpoint", message=problem)
        if checkpoint is None:
            if problems:
                raise RunError(f"no checkpoint of {self.run.name} can be used: {problems[0]}")
            if self.run.metrics.exists() and self.run.metrics.stat().st_size:
                writer.rewind(0)
            writer.event("started", 0, **environment(trainer), **evaluates(trainer))
        else:
            warnings = restore(trainer, checkpoint)
            writer.rewind(trainer.step)
            writer.event("resumed", trainer.step, warnings=warnings, **environment(trainer), **evaluates(trainer))
        return trainer

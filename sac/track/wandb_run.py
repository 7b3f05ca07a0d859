"""Records a run in Weights & Biases, online or as a log on disk; no failure there stops training."""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
import re
import secrets
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from sac.files import write_atomically

log = logging.getLogger(__name__)

STEP_COLUMN = "env_step"
SETTINGS = {
    "console": "off",  # leaves standard output unchanged
    "silent": True,
    "init_timeout": 5.0,  # seconds; after them a run is recorded on disk
    "login_timeout": 5,
    "x_service_wait": 10.0,
    "finish_timeout": 20.0,  # seconds; what is not uploaded by then remains on disk
    "finish_timeout_raises": True,  # otherwise the timeout would go unnoticed
}
RUN_ID = re.compile(r"[\w-]{1,128}", re.ASCII)  # the id of a run
ARTIFACT_TYPE = "model"  # also the beginning of the artifact's name
MAX_NAME_CHARACTERS = 128  # of a project, a group or a run
MAX_NAMED_FOLDERS = 2  # a command names up to so many one by one


class WandbSink:
    """A run in `project`. `folder` is the run folder, which also keeps the id of the run for a resume.

    A process can have one such run at a time, since `close` ends the service process of wandb. `config` is the resolved
    configuration. When the server cannot be reached, the run is recorded offline. `files` is called when the run ends;
    it returns {name in the artifact: path}, the content of an artifact `model-<id of the run>`.
    """

    title = "Weights & Biases"

    def __init__(
        self,
        folder: Path | str,
        mode: str,
        project: str,
        config: Mapping[str, Any],
        name: str | None = None,
        group: str | None = None,
        job_type: str | None = None,
        tags: Sequence[str] = (),
        entity: str | None = None,
        files: Callable[[], Mapping[str, Path]] | None = None,
    ) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # the setting `silent` does not cover its log-in lines
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # takes half a second, which other runs save

        self._wandb, self._files = wandb, files
        self._folder = folder = Path(folder)
        self.run_id = _kept_id(folder / "wandb" / "run_id")
        known: Any = {
            k: v for k, v in SETTINGS.items() if k in wandb.Settings.model_fields
        }  # older versions have fewer settings
        options: dict[str, Any] = {
            "project": project,
            "entity": entity,
            "config": dict(config),
            "name": name and name[-MAX_NAME_CHARACTERS:],  # the ends of names differ
            "group": group,
            "job_type": job_type,
            "tags": list(tags),
            "id": self.run_id,
            "resume": "allow",
            "dir": str(folder),
            "settings": wandb.Settings(**known),
            "mode": mode,
        }
        try:
            self._run = wandb.init(**options)
        except Exception as error:
            if mode != "online":
                raise
            log.warning("Weights & Biases cannot be reached (%s): the run is recorded offline", _first_line(error))
            with contextlib.suppress(Exception):
                wandb.teardown()  # otherwise the id would count as in use
            options["mode"] = "offline"
            self._run = wandb.init(**options)
        self._offline = options["mode"] == "offline"
        self._run.define_metric(STEP_COLUMN)
        self._run.define_metric("*", step_metric=STEP_COLUMN)
        if not self._offline:
            log.info("Weights & Biases: %s", self._run.url)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, STEP_COLUMN: int(step)})

    def images(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log({**{name: self._wandb.Image(v) for name, v in values.items()}, STEP_COLUMN: int(step)})

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        """Marks the run as finished (0) or failed; the result becomes its summary. It is on disk when this returns."""
        folder = Path(self._run.settings.sync_dir)
        with _failure_logged("the summary was"):  # a failure must not prevent `finish`
            self._run.summary.update({**result, "exit_reason": reason})
        if self._files is not None:
            with _failure_logged("the model was"):
                self._log_model({**result, "exit_reason": reason})
        try:
            self._run.finish(exit_code=exit_code)
        except TimeoutError:
            command = f"wandb sync --include-online {_word(folder)}"
            log.warning("Weights & Biases did not take everything in time; to upload the rest: %s", command)
        self._wandb.teardown()  # waits for the service process, which is still writing its log when `finish` returns
        if self._offline:
            log.info("Weights & Biases was offline; to upload this run: %s", sync_command([folder]))

    def _log_model(self, metadata: Mapping[str, Any]) -> None:
        """Logs the files as an artifact. They are copied beside the log of the run, where `wandb sync` finds them."""
        files = self._files() if self._files is not None else {}
        if not files:
            return
        with _environment("WANDB_DATA_DIR", str(self._folder.absolute() / "wandb")):
            artifact = self._wandb.Artifact(
                f"{ARTIFACT_TYPE}-{self.run_id}", type=ARTIFACT_TYPE, metadata=dict(metadata)
            )
            for name, path in files.items():
                artifact.add_file(str(path), name=name, skip_cache=True)
            self._run.log_artifact(artifact)


def wandb_sink(folder: Path | str, mode: str, *args: Any, **kwargs: Any) -> WandbSink | None:
    """The sink for a mode (auto | online | offline | disabled); None for a mode in which nothing is recorded."""
    mode = resolve_mode(mode)
    return None if mode == "disabled" else WandbSink(folder, mode, *args, **kwargs)


wandb_sink.title = WandbSink.title  # type: ignore[attr-defined]  # mypy knows no attributes of functions


def resolve_mode(mode: str) -> str:
    """Replaces `auto` by WANDB_MODE if that is set, else by `online` where there is an API key, else by `offline`."""
    if mode != "auto":
        return mode
    asked = {"dryrun": "offline", "run": "online"}.get(os.environ.get("WANDB_MODE", ""), os.environ.get("WANDB_MODE"))
    if asked in ("online", "offline", "disabled"):
        return asked
    return "online" if _has_key() else "offline"


def unsynced(run_folder: Path | str) -> list[Path]:
    """The offline records in a run folder that were not uploaded yet, one for each session of the run."""
    records = sorted(Path(run_folder).glob("wandb/offline-run-*/run-*.wandb"))
    return [path.parent for path in records if not path.with_name(path.name + ".synced").exists()]


def sync_command(folders: Sequence[Path]) -> str:
    """The command that uploads these records (see `unsynced`) of one run or of many.

    Up to MAX_NAMED_FOLDERS are named one by one. More are named by patterns, which match any number at the end of a
    run's name.
    """
    if len(folders) <= MAX_NAMED_FOLDERS:
        return " ".join(["wandb sync", *map(_word, folders)])
    families: dict[str, list[Path]] = {}  # beginning of the names -> run folders
    for run in dict.fromkeys(folder.parent.parent for folder in folders):
        families.setdefault(_word(run.parent / _beginning(run.name)), []).append(run)
    words = [f"{beginning}[0-9]*" if len(runs) > 1 else _word(runs[0]) for beginning, runs in families.items()]
    return " ".join(["wandb sync", *(f"{word}/wandb/offline-run-*" for word in words)])


def _beginning(name: str) -> str:
    """A name without the number at its end: `a-` of a-12 and of a-3-1, `run` of run7."""
    found = re.fullmatch(r"(.+?-)\d+(-\d+)*|(.*\D)\d+", name)
    return (found[1] or found[3]) if found else name


def _word(path: Path) -> str:
    """The path as one word of a shell command."""
    text = path.as_posix()
    return shlex.quote(f"./{text}" if text.startswith("-") else text)  # otherwise it would be read as an option


def _has_key() -> bool:
    """Whether an API key is in the environment or in a netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if path and (file := Path(path).expanduser()).is_file():
            with contextlib.suppress(netrc.NetrcParseError, OSError):
                return netrc.netrc(str(file)).authenticators(host) is not None
    return False


def _kept_id(path: Path) -> str:
    """The id in the file `path`, else that of older records in its folder, else a new one, which is written there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.read_bytes().decode(errors="replace").strip() if path.is_file() else ""
    if RUN_ID.fullmatch(kept):
        return kept
    records = sorted(path.parent.glob("*run-*/run-*.wandb"), key=lambda record: record.parent.name.partition("run-")[2])
    found = records[-1].stem.removeprefix("run-") if records else secrets.token_hex(4)
    write_atomically(path, found)
    return found


@contextlib.contextmanager
def _failure_logged(what: str) -> Iterator[None]:
    """Logs an exception as a warning and goes on."""
    try:
        yield
    except Exception as error:
        log.warning("Weights & Biases: %s not recorded: %r", what, error)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """Sets an environment variable inside this context, unless the user has set it."""
    if name in os.environ:
        yield
        return
    os.environ[name] = value
    try:
        yield
    finally:
        os.environ.pop(name, None)


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]

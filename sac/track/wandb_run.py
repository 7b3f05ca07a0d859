"""Weights & Biases: one run for one job, online or as a log on disk; never in the way of training."""

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

STEP = "env_step"
SETTINGS = {
    "console": "off",  # standard output stays ours
    "silent": True,
    "init_timeout": 5.0,  # seconds; a slow or absent server costs this once, then the run is recorded on disk
    "login_timeout": 5,
    "x_service_wait": 10.0,
    "finish_timeout": 20.0,  # seconds; what is not uploaded by then stays on disk
    "finish_timeout_raises": True,  # or nobody would hear of it
}
ID = re.compile(r"[\w-]{1,128}", re.ASCII)  # of a run
ARTIFACT = "model"  # type of the artifact, and the beginning of its name
LONGEST_NAME = 128  # letters of the name of a project, a group or a run
FEW = 2  # folders that a command names one by one


class WandbSink:
    """A run in project `project`; `folder` is the run folder, which also keeps the run's id for a resume.

    One run at a time in a process: `close` ends wandb's service process, which would serve them all.
    `config` is the resolved configuration. When the server cannot be reached the run is recorded offline.
    `files`, asked when the run ends, are those of an artifact `model-<id of the run>`, by their names in it.
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
        os.environ.setdefault("WANDB_SILENT", "true")  # its log-in lines ignore the setting
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # half a second that other runs need not pay

        self._wandb, self._files = wandb, files
        self._folder = folder = Path(folder)
        self.run_id = _kept_id(folder / "wandb" / "run_id")
        known = {k: v for k, v in SETTINGS.items() if k in wandb.Settings.model_fields}  # older versions know fewer
        options = {
            "project": project,
            "entity": entity,
            "config": dict(config),
            "name": name and name[-LONGEST_NAME:],  # at its end it differs from others
            "group": group,
            "job_type": job_type,
            "tags": list(tags),
            "id": self.run_id,
            "resume": "allow",
            "dir": str(folder),
            "settings": wandb.Settings(**known),
        }
        try:
            self._run = wandb.init(mode=mode, **options)
        except Exception as error:
            if mode != "online":
                raise
            log.warning("Weights & Biases cannot be reached (%s): the run is recorded offline", _first_line(error))
            with contextlib.suppress(Exception):
                wandb.teardown()  # or the id would count as taken by the attempt
            mode = "offline"
            self._run = wandb.init(mode=mode, **options)
        self._offline = mode == "offline"
        self._run.define_metric(STEP)
        self._run.define_metric("*", step_metric=STEP)
        if not self._offline:
            log.info("Weights & Biases: %s", self._run.url)

    def scalars(self, values: Mapping[str, float], step: int) -> None:
        self._run.log({**values, STEP: int(step)})

    def images(self, values: Mapping[str, Any], step: int) -> None:
        self._run.log({**{name: self._wandb.Image(v) for name, v in values.items()}, STEP: int(step)})

    def close(self, exit_code: int, reason: str, result: Mapping[str, Any]) -> None:
        """Marks the run finished (0) or failed (else); the result becomes its summary. On disk when this returns."""
        folder = Path(self._run.settings.sync_dir)
        with _reported("the summary was"):  # whatever fails before it, the run shall not look as if it went on
            self._run.summary.update({**result, "exit_reason": reason})
        if self._files is not None:
            with _reported("the model was"):
                self._log_model({**result, "exit_reason": reason})
        try:
            self._run.finish(exit_code=exit_code)
        except TimeoutError:
            command = f"wandb sync --include-online {_word(folder)}"
            log.warning("Weights & Biases did not take everything in time; to upload the rest: %s", command)
        self._wandb.teardown()  # waits for the service process: `finish` answers before its log is written out
        if self._offline:
            log.info("Weights & Biases was offline; to upload this run: %s", sync_command([folder]))

    def _log_model(self, metadata: Mapping[str, Any]) -> None:
        """Its files are copied beside the run's log, from where a later `wandb sync` takes them as well."""
        files = self._files()
        if not files:
            return
        with _environment("WANDB_DATA_DIR", str(self._folder.absolute() / "wandb")):
            artifact = self._wandb.Artifact(f"{ARTIFACT}-{self.run_id}", type=ARTIFACT, metadata=dict(metadata))
            for name, path in files.items():
                artifact.add_file(str(path), name=name, skip_cache=True)
            self._run.log_artifact(artifact)


def wandb_sink(folder: Path | str, mode: str, *args: Any, **kwargs: Any) -> WandbSink | None:
    """The sink for a configured mode (auto | online | offline | disabled); None where nothing is recorded."""
    mode = resolve_mode(mode)
    return None if mode == "disabled" else WandbSink(folder, mode, *args, **kwargs)


wandb_sink.title = WandbSink.title


def resolve_mode(mode: str) -> str:
    """`auto` -> WANDB_MODE if set, else `online` where an API key is present, else `offline`."""
    if mode != "auto":
        return mode
    asked = {"dryrun": "offline", "run": "online"}.get(os.environ.get("WANDB_MODE", ""), os.environ.get("WANDB_MODE"))
    if asked in ("online", "offline", "disabled"):
        return asked
    return "online" if _has_key() else "offline"


def unsynced(run_folder: Path | str) -> list[Path]:
    """The offline records in a run's folder, one for each session of the run, that were not uploaded yet."""
    records = sorted(Path(run_folder).glob("wandb/offline-run-*/run-*.wandb"))
    return [path.parent for path in records if not path.with_name(path.name + ".synced").exists()]


def sync_command(folders: Sequence[Path]) -> str:
    """The command that uploads these records (see `unsynced`), of one run or of a whole group.

    Up to two are named one by one; more become patterns, in which the number at the end of a run's name is left open.
    """
    if len(folders) <= FEW:
        return " ".join(["wandb sync", *map(_word, folders)])
    families: dict[str, list[Path]] = {}  # what the names of runs begin with -> run folders
    for run in dict.fromkeys(folder.parent.parent for folder in folders):
        families.setdefault(_word(run.parent / _beginning(run.name)), []).append(run)
    words = [f"{beginning}[0-9]*" if len(runs) > 1 else _word(runs[0]) for beginning, runs in families.items()]
    return " ".join(["wandb sync", *(f"{word}/wandb/offline-run-*" for word in words)])


def _beginning(name: str) -> str:
    """`a-` of a-12 and of a-3-1, `run` of run7; a name without a number at its end stays whole."""
    found = re.fullmatch(r"(.+?-)\d+(-\d+)*|(.*\D)\d+", name)
    return (found[1] or found[3]) if found else name


def _word(path: Path) -> str:
    text = path.as_posix()
    return shlex.quote(f"./{text}" if text.startswith("-") else text)  # or it would be an option


def _has_key() -> bool:
    if os.environ.get("WANDB_API_KEY"):
        return True
    host = urlparse(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for path in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        if path and (file := Path(path).expanduser()).is_file():
            with contextlib.suppress(netrc.NetrcParseError, OSError):
                return netrc.netrc(str(file)).authenticators(host) is not None
    return False


def _kept_id(path: Path) -> str:
    """The id of the run in this folder, also from the names of its records; made at the first start."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = path.read_bytes().decode(errors="replace").strip() if path.is_file() else ""
    if ID.fullmatch(kept):
        return kept
    records = sorted(path.parent.glob("*run-*/run-*.wandb"), key=lambda record: record.parent.name.partition("run-")[2])
    found = records[-1].stem.removeprefix("run-") if records else secrets.token_hex(4)
    write_atomically(path, found)
    return found


@contextlib.contextmanager
def _reported(what: str) -> Iterator[None]:
    """A failure is told and goes no further."""
    try:
        yield
    except Exception as error:
        log.warning("Weights & Biases: %s not recorded: %r", what, error)


@contextlib.contextmanager
def _environment(name: str, value: str) -> Iterator[None]:
    """The environment variable inside the block, unless the user has set it."""
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

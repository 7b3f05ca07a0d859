"""Weights & Biases: one run for one job, online or as a log on disk; never in the way of training."""

from __future__ import annotations

import contextlib
import logging
import netrc
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

log = logging.getLogger(__name__)

STEP = "env_step"
SETTINGS = {
    "console": "off",  # standard output stays ours
    "silent": True,
    "init_timeout": 5.0,  # seconds; a slow or absent server costs this once, then the run is recorded on disk
    "login_timeout": 5,
    "x_service_wait": 10.0,
    "finish_timeout": 30.0,  # what is not uploaded by then stays on disk
}


class WandbSink:
    """A run in project `project`; `folder` is the run folder, which also keeps the run's id for a resume.

    One run at a time in a process: `close` ends wandb's service process, which would serve them all.
    `config` is the resolved configuration. When the server cannot be reached the run is recorded offline.
    """

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
    ) -> None:
        os.environ.setdefault("WANDB_SILENT", "true")  # its log-in lines ignore the setting
        os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb  # half a second that other runs need not pay

        self._wandb = wandb
        folder = Path(folder)
        self.run_id = _kept_id(folder / "wandb" / "run_id")
        known = {k: v for k, v in SETTINGS.items() if k in wandb.Settings.model_fields}  # older versions know fewer
        options = {
            "project": project,
            "entity": entity,
            "config": dict(config),
            "name": name,
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
        self._run.summary.update({**result, "exit_reason": reason})
        folder = Path(self._run.settings.sync_dir)
        self._run.finish(exit_code=exit_code)
        self._wandb.teardown()  # waits for the service process: `finish` answers before its log is written out
        if self._offline:
            log.info("Weights & Biases was offline; to upload this run: wandb sync %s", folder)


def wandb_sink(folder: Path | str, mode: str, *args: Any, **kwargs: Any) -> WandbSink | None:
    """The sink for a configured mode (auto | online | offline | disabled); None where nothing is recorded."""
    mode = resolve_mode(mode)
    return None if mode == "disabled" else WandbSink(folder, mode, *args, **kwargs)


def resolve_mode(mode: str) -> str:
    """`auto` -> WANDB_MODE if set, else `online` where an API key is present, else `offline`."""
    if mode != "auto":
        return mode
    asked = {"dryrun": "offline", "run": "online"}.get(os.environ.get("WANDB_MODE", ""), os.environ.get("WANDB_MODE"))
    if asked in ("online", "offline", "disabled"):
        return asked
    return "online" if _has_key() else "offline"


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
    """The id of the run in this folder; made at the first start."""
    if path.is_file() and (kept := path.read_text(encoding="utf-8").strip()):
        return kept
    path.parent.mkdir(parents=True, exist_ok=True)
    made = secrets.token_hex(4)
    path.write_text(made, encoding="utf-8")
    return made


def _first_line(error: Exception) -> str:
    return (str(error) or repr(error)).splitlines()[0]

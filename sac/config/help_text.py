"""The text of --help. Hydra would copy all its config files for each group that it lists, which takes a second."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from string import Template

from omegaconf import OmegaConf


def help_text(folders: Sequence[Path]) -> str:
    """The text of conf/cli/default.yaml with the config groups of these folders; the first one is conf/."""
    texts = OmegaConf.create({"hydra": OmegaConf.load(folders[0] / "cli" / "default.yaml")})
    return Template(texts.hydra.help.template).safe_substitute(APP_CONFIG_GROUPS=_choices(folders))


def _choices(folders: Sequence[Path]) -> str:
    """A line `group: option, option` for each config group."""
    options: dict[str, set[str]] = {}
    for folder in folders:
        for file in folder.rglob("*.yaml"):
            group = file.relative_to(folder).parent.as_posix()
            if group != "." and not group.startswith("hydra"):
                options.setdefault(group, set()).add(file.stem)
    return "\n".join(f"{group}: {', '.join(sorted(names))}" for group, names in sorted(options.items()))

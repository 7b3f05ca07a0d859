"""README, CONTRIBUTING and docs/ say what is true: commands compose, links lead somewhere, keys and files exist."""

from __future__ import annotations

import ast
import importlib.util
import re
import shlex
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import ChoiceSweep, Sweep
from markdown.extensions.toc import slugify
from omegaconf import OmegaConf

from launchers.cells.members import evolves
from launchers.cells.options import PopulationOptions, RoleOptions
from launchers.jobs.options import ProcessOptions
from launchers.kubernetes_manifests.options import KubernetesOptions
from launchers.ray_cluster.options import RayCellOptions, RayJobOptions
from launchers.search.options import SearchOptions
from sac.config.command_line import FREE_FORM, as_texts, begin, check_overrides
from sac.config.command_line import _groups as groups
from sac.config.overrides import value_text
from sac.config.schema import all_keys
from sac.config.validation import checked, validated

ROOT = Path(__file__).parents[2]
DOCS = sorted(ROOT.glob("docs/**/*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(d for d in DOCS if d.parent.name != "results")]
FENCE = re.compile(r"^ *```(\w*)\n(.*?)^ *```$", re.S | re.M)
CODE = re.compile(r"`([^`\n]+)`")
OPTIONS = {
    "processes": ProcessOptions, "roles": RoleOptions, "population": PopulationOptions, "ray": RayJobOptions,
    "ray_roles": RayCellOptions,
    "kubernetes": KubernetesOptions, "optuna": SearchOptions,
}  # fmt: skip
PROGRAMS = {
    ".", "chmod", "docker", "export", "kubectl", "mkdocs", "mypy", "pip", "pytest", "python", "python3", "ray", "ruff",
    "srun", "tensorboard", "wandb",
}  # fmt: skip
SHELL = ("#!", "head=", "#SBATCH")  # lines of a batch script
KEYS = set(all_keys())
EXAMPLE_FILES = {
    "conf/env/mine.yaml",
    "conf/env/gym/mine.yaml",
    "sac/extras/motion.py",
    "conf/env/myagent.yaml",
}  # a reader makes them


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def text_of(page: Path) -> str:
    """A page as it is built: what it includes is in it."""
    return re.sub(r'^--8<-- "(.+)"$', lambda m: (ROOT / m[1]).read_text(), page.read_text(), flags=re.M)


def fenced(page: Path, language: str) -> Iterator[str]:
    yield from (block for found, block in FENCE.findall(page.read_text()) if found == language)


def commands(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's bash blocks, without comments."""
    for block in fenced(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if not line.strip() or line.strip().startswith(SHELL):
                continue
            words = shlex.split(line, comments=True)
            while words:
                end = next((i for i, word in enumerate(words) if word in ("&&", "|", ">")), len(words))
                if words[:end] and words[0] != "/dev/null":
                    yield words[:end]
                words = words[end + 1 :]


# Each command once, whichever pages show it.
RUNS = {
    shlex.join(words): (words[words.index("run.py") + 1 :], page)
    for page in PAGES
    for words in commands(page)
    if "run.py" in words
}


@pytest.fixture(scope="module")
def _hydra():
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield


def first(override) -> str:
    """An override without its sweep: of several values the first."""
    value = override.value()
    if isinstance(value, ChoiceSweep):
        value = value.list[0]
    elif isinstance(value, Sweep):
        value = value.start
    else:
        return override.input_line
    return f"{override.key_or_group}={value_text(getattr(value, 'text', value))}"


@pytest.mark.parametrize("typed", [pytest.param(t, id=f"{named(page)}: {c}") for c, (t, page) in RUNS.items()])
def test_a_command_of_run_py_composes(typed, _hydra, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    more = []
    if "--config-dir" in typed:  # which a search has written
        folder = tmp_path / typed[typed.index("--config-dir") + 1]
        (folder / "env").mkdir(parents=True)
        (folder / "env" / "best-sac.yaml").write_text("# @package _global_\ndefaults: [/env/gym/pendulum]\n")
        more = [f"hydra.searchpath=[file://{folder}]"]
    monkeypatch.setattr(sys, "argv", ["run.py", *typed])
    monkeypatch.setenv("SAC_MOMENT", "")
    if typed == ["--help"]:
        with pytest.raises(SystemExit, match=r"^0$"):
            begin(typed)
        return
    free = {word.removeprefix("++"): word for word in begin(typed)}
    folders = [ROOT / "conf", *([folder] if more else [])]
    words = [w for w in typed if "=" in w and w not in ("--cfg", "job")]
    overrides = check_overrides([as_texts([w], groups(folders))[w] for w in words], folders)
    assert words
    config = compose("config", [free.get(first(o), first(o)) for o in overrides] + more, return_hydra_config=True)
    chosen = config.hydra.runtime.choices
    for kind in ("launcher", "sweeper"):
        options = OmegaConf.to_container(config.hydra[kind], resolve=True)
        cls = OPTIONS.get(chosen[f"hydra/{kind}"])
        if cls is not None and "-m" in typed:
            checked(cls, {k: v for k, v in options.items() if k != "_target_"}, f"hydra.{kind}.")
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    HydraConfig.instance().set_config(config)  # `base.env` is the choice of the group
    OmegaConf.set_struct(config, False)
    config.pop("hydra")
    if chosen["hydra/launcher"] == "population":
        config.base.evolver_enabled = evolves(config)  # as each of its learners is told
    validated(config)


def extras() -> set[str]:
    return set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_other_command_names_what_exists(page):
    for words in commands(page):
        if words[0] not in PROGRAMS:
            assert Path(words[0]).name == "minari" or "=" in words[0], words
        if "-m" in words and words[0] in ("python", "python3") and "run.py" not in words:
            assert importlib.util.find_spec(words[words.index("-m") + 1]), words
        for word in words:
            if re.fullmatch(r"(benchmarks|docs|tests)/[\w/]+\.py|constraints\.txt", word):
                assert (ROOT / word).is_file(), words
    for module in re.findall(r"python -m ([\w.]+\w)", page.read_text()):
        assert importlib.util.find_spec(module), module
    for extra in re.findall(r"\.\[([\w,]+)\]", page.read_text()):
        assert set(extra.split(",")) <= extras(), extra


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CHANGELOG.md"], ids=named)
def test_every_file_that_is_named_exists(page):
    pattern = r"(?<![\w/.-])((?:sac|envs|launchers|conf|tests|benchmarks|docs)/[\w./-]+\.(?:py|yaml|md|png|csv))\b"
    lost = {path for path in re.findall(pattern, page.read_text()) if not (ROOT / path).is_file()}
    assert lost <= EXAMPLE_FILES
    folders = re.findall(r"`((?:sac|envs|launchers|conf|tests|benchmarks|docs)(?:/\w+)*/?)`", page.read_text())
    assert [folder for folder in folders if not (ROOT / folder).is_dir()] == []


def anchors(page: Path) -> set[str]:
    """Of headings, as the site and GitHub make them."""
    prose = FENCE.sub("", text_of(page))
    titles = re.findall(r"^#+ (.+)$", prose, re.M)
    return {slugify(re.sub(r"[`*]|\]\(.*?\)|\[", "", title), "-") for title in titles}


@pytest.mark.parametrize("page", [*PAGES, *(d for d in DOCS if d.parent.name == "results")], ids=named)
def test_every_link_leads_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", FENCE.sub("", text_of(page))):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), target


def test_every_page_is_in_the_navigation():
    text = (ROOT / "mkdocs.yml").read_text()
    listed = set(re.findall(r": ([\w/-]+\.md)$", text, re.M))
    assert listed == {page.relative_to(ROOT / "docs").as_posix() for page in DOCS}


def is_key(name: str) -> bool:
    """A key of the config or of a launcher or search, or something below a key that takes names of the user's."""
    if name.startswith(("hydra.launcher.", "hydra.sweeper.")):
        leaf = name.split(".")[2]
        return any(leaf in {f.name for f in fields(cls)} for cls in OPTIONS.values())
    return name in KEYS or name.startswith(tuple(f"{free}." for free in FREE_FORM))


def is_module(name: str) -> bool:
    """A module of this project, or something in it."""
    parts = name.split(".")
    return any((ROOT / Path(*parts[:n])).with_suffix(".py").is_file() or (ROOT / Path(*parts[:n])).is_dir()
               for n in range(len(parts), 1, -1))  # fmt: skip


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_key_exists(page):
    section = r"(?:sac|base|replay|eval|track|net|hydra\.launcher|hydra\.sweeper)"
    pattern = re.compile(rf"(?<![\w./'-])({section}\.[a-z][\w.]*\w)")
    codes = [*CODE.findall(FENCE.sub("", page.read_text())), *fenced(page, "bash"), *fenced(page, "text")]
    names = {name for code in codes for name in pattern.findall(code)}
    assert {name for name in names if not is_key(name) and not is_module(name)} <= {"sac.gama"}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_yaml_examples_set_keys_that_exist(page):
    def flat(values: dict, prefix: str = "") -> Iterator[str]:
        for key, value in values.items():
            yield prefix + key
            if isinstance(value, dict) and not is_key(f"{prefix}{key}.anything"):
                yield from flat(value, f"{prefix}{key}.")

    for block in (b for b in fenced(page, "yaml") if b.startswith("# @package _global_")):
        values = yaml.safe_load(block.replace("<", "").replace(">", ""))
        values.pop("defaults", None), values.pop("hydra", None)
        varied = values.pop("random_params", {})
        assert {name for name in [*flat(values), *varied] if not is_key(name)} == set()


def strings() -> Iterator[str]:
    """Every text in the code; what is filled in is left out."""
    for path in [ROOT / "run.py", *(p for room in ("sac", "envs", "launchers") for p in ROOT.glob(f"{room}/**/*.py"))]:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                yield "\0".join(str(v.value) for v in node.values if isinstance(v, ast.Constant))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_troubleshooting_quotes_messages_as_they_are():
    quotes = re.findall(r"^> `(.+)`$", (ROOT / "docs/troubleshooting.md").read_text(), re.M)
    assert len(quotes) >= 40
    known = list(strings())
    patterns = {q: re.compile(".*".join(map(re.escape, q.strip(". ").split("..."))), re.S) for q in quotes}
    assert [q for q, pattern in patterns.items() if not any(pattern.search(text) for text in known)] == []


def test_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def test_the_page_of_the_configuration_is_fresh():
    spec = importlib.util.spec_from_file_location("make_configuration", ROOT / "docs/make_configuration.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_configuration"] = module
    spec.loader.exec_module(module)
    assert module.PAGE.read_text() == module.page(), "run: python docs/make_configuration.py"
    for name in KEYS - {"base", "replay", "sac", "eval", "track", "net", "reset"}:
        assert f"| `{name}` |" in module.page()
    assert re.search(r"\|  \|$", module.page(), re.M) is None, "a key without its meaning"

#!/usr/bin/env bash
# rich 15.0.0: a line that cannot be printed ends the program, past every `except Exception`.
#
# One would expect: Console.print to a pipe whose reader is gone (`... | head -1`) raises BrokenPipeError, as print()
#   does, so that code which guards its output by `except Exception` (or `except OSError`) goes on with its work.
# What happens: Console catches BrokenPipeError itself and raises SystemExit(1), also out of a Progress bar's refresh.
#   SystemExit is no Exception: a long computation ends at its next status line, with exit code 1 and without a word.
# Output seen: "rich 15.0.0: print(): caught BrokenPipeError; Console.print(): passed `except Exception` as SystemExit(1)"
set -eu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check "rich==15.0.0"
cat >"$folder/work.py" <<'PY'
import os
import sys
from importlib.metadata import version

from rich.console import Console


def tried(line):
    """What comes of a line that is printed while nobody reads any more."""
    try:
        line("status")
    except Exception as error:
        return f"caught {type(error).__name__}"
    except BaseException as error:
        return f"passed `except Exception` as {type(error).__name__}({error.code})"
    return "nothing"


reader, writer = os.pipe()
os.close(reader)
pipe = os.fdopen(writer, "w")
plain = tried(lambda text: print(text, file=pipe, flush=True))
reader, writer = os.pipe()
os.close(reader)
kept = os.dup(1)
of_rich = tried(Console(file=os.fdopen(writer, "w")).print)
os.dup2(kept, 1)  # rich has pointed standard output elsewhere, whatever file it was given
sys.stdout.write(f"rich {version('rich')}: print(): {plain}; Console.print(): {of_rich}\n")
sys.stdout.flush()
ends = (plain, of_rich) == ("caught BrokenPipeError", "passed `except Exception` as SystemExit(1)")
os._exit(0 if ends else 1)
PY
"$folder/venv/bin/python" "$folder/work.py"

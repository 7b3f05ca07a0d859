"""Debian's Chromium without a screen and without a network."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
MEASURE = """<script>
addEventListener("load", () => {
  const sizes = [...document.images].map(i => i.naturalWidth + "x" + i.naturalHeight);
  document.documentElement.setAttribute("data-sizes", sizes.join(" "));
});
</script>"""


def chromium() -> str:
    found = shutil.which("chromium")
    if not found:
        pytest.skip("no chromium here: apt-get install chromium")
    return found


def _run(page: Path, folder: Path, *flags: str) -> str:
    command = [chromium(), *FLAGS, f"--user-data-dir={folder / 'profile'}", *flags, page.resolve().as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def dom(page: Path, folder: Path, *flags: str) -> str:
    """The page as the browser understood it."""
    return _run(page, folder, "--dump-dom", *flags)


def screenshot(page: Path, folder: Path, *, dark: bool = False, size: str = "1280,2400") -> Path:
    """Of the untouched page."""
    picture = folder / f"{'dark' if dark else 'light'}.png"
    theme = ["--blink-settings=preferredColorScheme=0"] if dark else ["--blink-settings=preferredColorScheme=1"]
    _run(page, folder, f"--window-size={size}", f"--screenshot={picture}", *theme)
    return picture


def image_sizes(page: Path, folder: Path) -> list[tuple[int, int]]:
    """Natural widths and heights of all images, measured in a copy of the page that may run a script."""
    copy = folder / "measured.html"
    text = re.sub(r"<meta http-equiv=\"Content-Security-Policy\"[^>]*>", "", page.read_text(encoding="utf8"))
    copy.write_text(text.replace("</body>", f"{MEASURE}</body>"), encoding="utf8")
    sizes = re.search(r'data-sizes="([^"]*)"', dom(copy, folder, "--virtual-time-budget=5000")).group(1)
    return [tuple(map(int, size.split("x"))) for size in sizes.split()]

"""A headless Chromium that opens a page once and gives back what its scripts wrote into it."""

import html
import json
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--window-size=1280,1000",
)
LONGEST = 240  # seconds


def find_browser():
    """The path of a Chromium; the test skips where there is none."""
    for name in NAMES:
        if path := shutil.which(name):
            return path
    pytest.skip(f"no browser: none of {', '.join(NAMES)}")


def opened(page, folder):
    """The page's HTML after its scripts have run.

    Args:
        page: the path of the file.
        folder: for the browser's own files.
    """
    command = [find_browser(), *FLAGS, f"--user-data-dir={folder}", "--dump-dom", f"file://{page}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LONGEST)
    assert done.returncode == 0, done.stderr
    return done.stdout


def answers_of(dom):
    """What a script wrote as JSON into the element `check`."""
    (text,) = re.findall(r'<pre id="check">(.*?)</pre>', dom, re.S)
    answers = json.loads(html.unescape(text))
    assert "error" not in answers, answers["error"]
    return answers

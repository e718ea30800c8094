"""A slice of the campaign: files that are no proper input are refused in one line each."""

import re
import subprocess
import sys

import pytest

from tests.support.house import ROOT


@pytest.mark.slow
def test_hostile_files_are_refused():
    command = [sys.executable, "-m", "tests.campaign", "--seed", "1", "--only", "hostile"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=300)
    assert done.returncode == 0, done.stdout
    (trials, failures) = re.search(r"^all +(\d+) +(\d+)", done.stdout, re.M).groups()
    assert int(trials) >= 15 and failures == "0"

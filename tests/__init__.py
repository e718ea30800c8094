"""The tests: a folder for each room of the package, with a file for each module."""

import pytest

pytest.register_assert_rewrite("tests.support")  # its assertions tell what differs, too

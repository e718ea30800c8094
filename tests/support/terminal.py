"""A terminal that remembers what was drawn."""

import io
import time


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self):
        return True

    def drawings(self, count):
        """At least so many drawings of the bar, which half a minute has to bring."""
        until = time.monotonic() + 30
        while len(drawn := self.getvalue().split("\r")[1:]) < count and time.monotonic() < until:
            time.sleep(0.01)
        assert len(drawn) >= count
        return drawn

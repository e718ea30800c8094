"""A reader of HTML pages."""

import base64
from html.parser import HTMLParser
from pathlib import Path


class Page(HTMLParser):
    """The tags of a page with their attributes, and its text; every tag has to be closed.

    Args:
        source: the page's text, or the path of its file.
    """

    VOID = ("meta", "img", "input", "br", "path", "use")

    def __init__(self, source):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        text = str(source)
        self.feed(text if text.startswith("<!doctype html>") else Path(text).read_text())
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    @property
    def figures(self):
        """The SVG figures of the page, as text, by their descriptions."""
        drawn = {}
        for tag, attributes in self.tags:
            kind, _, content = attributes.get("src", "").partition(";base64,")
            if tag == "img" and kind == "data:image/svg+xml":
                drawn[attributes["alt"]] = base64.b64decode(content).decode()
        return drawn

    def count(self, tag):
        """How often a tag stands on the page."""
        return sum(name == tag for name, _ in self.tags)

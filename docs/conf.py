"""The documentation site; docs/README.md has the commands that build it.

The sources lie in the whole repository, so that links between pages lead to the same places here and
on the files themselves.
"""

import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))  # declared.py, beside this file

from declared import DIRECTIVES, EXAMPLES
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

import pyro_vae

project = "pyro_vae"
author = "the pyro_vae authors"
project_copyright = author
release = pyro_vae.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "myst_nb",
]
root_doc = "docs/index"
include_patterns = [
    "docs/**",
    "notebooks/**",
    "benchmarks/*.md",
    "results/**",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
]
exclude_patterns = ["docs/_build", "docs/README.md", ".venv", "runs", "data", "build", "tests"]

# Pages are Markdown as a forge shows it: headings are anchors, formulas stand between dollars.
myst_enable_extensions = ["dollarmath", "colon_fence"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # the pages in notebooks/shown have their figures

# Docstrings are Google's style; a single backtick is code.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
napoleon_google_docstring = True
napoleon_numpy_docstring = False

python_maximum_signature_line_length = 80

html_theme = "furo"
html_title = "pyro_vae"
html_additional_pages = {"index": "to_first_page.html"}
templates_path = ["_templates"]
html_extra_path = ["_build/extra"] if EXAMPLES.parent.exists() else []
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_show_sphinx = False
html_show_copyright = False
html_theme_options = {
    "top_of_page_buttons": [],
    "light_css_variables": {"color-brand-primary": "#1b5e9b", "color-brand-content": "#1b5e9b"},
    "dark_css_variables": {"color-brand-primary": "#86b9ea", "color-brand-content": "#86b9ea"},
}


def directive(lines: Callable[[], list[str]]) -> type[SphinxDirective]:
    """Return the directive that puts the Markdown of a function into a page."""

    class Declared(SphinxDirective):
        def run(self) -> list[nodes.Node]:
            container = nodes.Element()
            content = StringList(lines(), source=lines.__name__)
            self.state.nested_parse(content, self.content_offset, container, match_titles=True)
            return container.children

    return Declared


def setup(app: Sphinx) -> None:
    """Register the directives; Sphinx calls this."""
    for lines in DIRECTIVES:
        app.add_directive(lines.__name__, directive(lines))

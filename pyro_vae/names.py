"""Looking a name up in one of the package's dicts."""

import difflib
from collections.abc import Iterable


def check_name(argument: str, name: str, known: Iterable[str]) -> str:
    """The name itself, if it is known.

    Raises:
        ValueError: an unknown name; the message gives the nearest known one, or all of them.
    """
    known = list(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"expected one of {', '.join(known)}"
    raise ValueError(f"{argument}: unknown name {name!r}; {hint}")

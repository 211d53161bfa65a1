"""Where the figures come from: versions, commits and every setting."""

from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from experiments.reporting.page.document import facts, section, tag
from experiments.system.provenance import commit


def provenance(config: dict[str, Any], versions: dict[str, Any], command: str) -> Element:
    """The section on versions and settings.

    Args:
        config, versions: empty for a data set without a run.
        command: that wrote the page.
    """
    parts = [facts([("this page", command), ("page written at commit", commit())])]
    if versions:
        names = {"commit": "commit of the run"}
        parts.append(facts((names.get(name, name), value) for name, value in versions.items()))
    if config:
        settings = facts(flat(config))
        parts.append(tag("details", tag("summary", "Every setting of the run"), settings))
    return section("provenance", "Settings and provenance", *parts)


def flat(config: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings of nested blocks with their full names."""
    for name, value in config.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)

"""The card of a synthetic data set: what it is, for those who only have the files."""

from typing import Any

CARD = """\
---
pretty_name: {name}
tags:
- reinforcement-learning
- offline-rl
- synthetic
---

# {name}

**Synthetic data**: {transitions:,} transitions in {episodes:,} episodes that the source
`{source}` of {generator} generated. No environment was stepped.

| | |
| --- | --- |
| recorded data that the source was trained on | `{recorded}` |
| environment of the recorded data | {environment} |
| longest episode | {episode_steps:,} steps |
| episodes that end in a predicted terminal state | {predicted_ends:,} |
| mean length, mean return | {length_mean:.1f}, {return_mean:.1f} |
| run, commit | {run}, {commit} |
| units | the environment's, of observations, actions and rewards |
{scores}
Each episode begins at a recorded step, drawn uniformly, which is seldom the first of an episode; it
is continued by rollouts of the source, each from the last complete state and action of the previous
one. An episode that does not end in a terminal state is truncated.

## Fidelity

{fidelity}

## Settings

{settings}
"""


def card(name: str, synthetic: dict[str, Any], fidelity: str) -> str:
    """The text of README.md.

    Args:
        name: of the data set.
        synthetic: what its metadata say of it.
        fidelity: figures of the source, as text.
    """
    scores = synthetic["reference_scores"]
    low_high = f"{scores[0]:g}, {scores[1]:g}" if scores else ""
    return CARD.format(
        **{key: value for key, value in synthetic.items() if key not in ("settings", "fidelity")},
        name=name,
        scores=f"| returns that score 0 and 100 | {low_high} |\n" if scores else "",
        fidelity=_fenced(fidelity),
        settings=_fenced("\n".join(_lines(synthetic["settings"]))),
    )


def _lines(settings: dict[str, Any], prefix: str = "") -> list[str]:
    lines = []
    for name, value in settings.items():
        where = f"{prefix}{name}"
        lines += _lines(value, f"{where}.") if isinstance(value, dict) else [f"{where}: {value}"]
    return lines


def _fenced(text: str) -> str:
    return f"```\n{text}\n```"

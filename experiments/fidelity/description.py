"""The figures of `held_out.measure` in words."""

from typing import Any


def describe(report: dict[str, Any]) -> str:
    """The figures as a few lines for the terminal."""

    def row(name: str, shares: list[float | None]) -> str:
        shown = " ".join("  -  " if share is None else f"{share:5.3f}" for share in shares)
        return f"  {name:34} {shown}"

    lines = ["share of held-out variance explained, at each step of the window:"]
    for kind, models in report["states"].items():
        lines.append(row(f"states, {kind}", models["pooled"]))
    lines += [row(f"rewards, {kind}", shares) for kind, shares in report["rewards"].items()]
    if report["simulator"]:
        lines.append("share of the simulator's variance explained:")
        for kind, models in report["simulator"]["changes"].items():
            lines.append(row(f"changes of state, {kind}", models["pooled"]))
        for kind, shares in report["simulator"]["rewards"].items():
            lines.append(row(f"rewards, {kind}", shares))
    for kind, shares in (report["actions"] or {}).items():
        if shares:
            lines.append(row(f"inferred actions, {kind}", [shares["pooled"]]))
    for kind, ratios in (report["spread"] or {}).items():
        lines.append(row(f"spread over error, {kind}", ratios["pooled"]))
    ratio = report["variance_ratio"]["synthetic"]["pooled"]
    lines.append(row("variance, synthetic / recorded", [ratio]))
    for kind, counts in report["terminals"].items():
        if counts:
            shown = ", ".join(f"{k} {'-' if v is None else f'{v:.3f}'}" for k, v in counts.items())
            lines.append(f"  terminals, {kind}: {shown}")
    if report["returns"]:
        pairs = (f"{e['target']:.2f} -> {e['obtained']:.2f}" for e in report["returns"])
        lines.append(f"  returns, target -> obtained: {', '.join(pairs)}")
    return "\n".join(lines)

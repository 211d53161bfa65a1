"""What a user says about files of others, and which formats read it."""

from dataclasses import dataclass, field, fields

from dawm_jax.data.formats.detection import FORMATS, LOGS
from dawm_jax.data.formats.logs import ColumnMap
from dawm_jax.errors import require

# The options that each format reads, besides those of all formats.
READ = {
    "d4rl": {"max_steps"},
    "ogbench": {"task", "reward"},
    "lerobot": {"observation", "action", "reward", "terminal", "timeout"},
} | {log: {part.name for part in fields(ColumnMap)} for log in LOGS}


@dataclass(frozen=True)
class Options:
    """What files do not say themselves. None and empty mean that it is not given."""

    environment: str | None = None  # id of the Gymnasium environment to evaluate in
    action_low: tuple[float, ...] = ()  # one for all, or one for each
    action_high: tuple[float, ...] = ()
    columns: ColumnMap = field(default_factory=ColumnMap)
    max_steps: int | None = None  # step limit of D4RL's data without timeouts
    task: str | None = None  # OGBench's single task, for its rewards

    def check(self, kind: str) -> None:
        """Raises UserError if an option is given that the format `kind` does not read."""
        named = {part.name: getattr(self.columns, part.name) for part in fields(ColumnMap)}
        named |= {"max_steps": self.max_steps, "task": self.task}
        unread = sorted(n for n, v in named.items() if v not in (None, ()) and n not in READ[kind])
        require(
            not unread,
            f"{_flags(unread)} cannot be used with the format {kind}, which has "
            f"{_flags(sorted(READ[kind]))}; --format names another of {', '.join(FORMATS)}",
        )


def _flags(names: list[str]) -> str:
    return ", ".join(f"--{name}" for name in names)

"""One page about data, what was synthesized from them, and what was learnt."""

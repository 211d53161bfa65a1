"""Results, tables and figures."""

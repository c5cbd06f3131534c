"""Which model is which: versions and their lineage, aliases, the gate before shipping, model cards."""

"""What the programs of `bench/` share: the speed of the machine, counting, turns, tables and results."""

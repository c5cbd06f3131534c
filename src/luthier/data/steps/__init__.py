"""What happens to rows before training: one step a file; each returns what it kept and what it dropped."""

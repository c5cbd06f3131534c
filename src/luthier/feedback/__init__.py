"""From what people say of answers to rows that a model learns from."""

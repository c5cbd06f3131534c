"""A model in service: engines that write tokens, and what stands between them and a client."""

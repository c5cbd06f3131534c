"""What writes tokens: one small protocol, one conformance suite, an implementation a file."""

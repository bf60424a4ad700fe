"""Networks behind standard decoders: they bring back what coding took away."""

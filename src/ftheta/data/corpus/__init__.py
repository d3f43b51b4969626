"""Documents by the shard: read, cleaned, compared, divided and turned into tokens, each shard by itself, in as many processes as wished."""

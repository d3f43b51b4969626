"""Pictures by the shard: decoded once into arrays on the disk, then joined with what is said of them."""

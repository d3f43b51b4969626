"""What `plan` needs to know before anything runs: a rehearsal without storage, a shadow of the heap, the machine's rates, a short trial."""

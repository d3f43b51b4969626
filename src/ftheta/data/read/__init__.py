"""Reading raw files: which there are, what they are packed in, how each format gives documents, and the account of it."""

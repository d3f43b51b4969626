"""Conversations: read in the formats people have them in, rendered by a template that keeps apart what users wrote and what the template says."""

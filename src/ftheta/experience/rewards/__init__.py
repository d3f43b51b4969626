"""Rewards: what a completion of a prompt is worth, by a rule or by a model that learned what people prefer."""

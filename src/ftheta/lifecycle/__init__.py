"""The life cycle of a model: recipe, stages in order, plan, certify, compare, card."""

"""Models behind HTTP: OpenAI's routes, every task, health and figures."""

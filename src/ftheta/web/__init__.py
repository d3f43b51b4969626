"""The page's own routes: run folders looked at, recipes checked and planned, runs started and stopped. What the models do is asked of the server's routes."""

"""Experience: environments, rewards, and the sources whose batches come from acting with the model being trained."""

from ftheta.core.catalog import Catalogue

ENVIRONMENTS = Catalogue("environment", {"cartpole": "ftheta.experience.environments.cartpole:CartPole"})
EXPERIENCE = Catalogue(
    "source", {"completions": "ftheta.experience.completions:CompletionsConfig", "rollouts": "ftheta.experience.rollouts:RolloutsConfig"}
)
REWARDS = Catalogue(
    "reward",
    {
        "arithmetic": "ftheta.experience.rewards.rules:RightNumber",
        "exact_match": "ftheta.experience.rewards.rules:ExactMatch",
        "format": "ftheta.experience.rewards.rules:Tagged",
        "length": "ftheta.experience.rewards.rules:Length",
        "model": "ftheta.experience.rewards.judged:RewardModel",
        "regex": "ftheta.experience.rewards.rules:Matches",
    },
)

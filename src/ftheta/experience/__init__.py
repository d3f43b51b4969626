"""Experience: environments and the sources whose batches come from acting in them with the model being trained."""

from ftheta.core.catalog import Catalogue

ENVIRONMENTS = Catalogue("environment", {"cartpole": "ftheta.experience.environments.cartpole:CartPole"})
EXPERIENCE = Catalogue("source", {"rollouts": "ftheta.experience.rollouts:RolloutsConfig"})

"""Batches from completions of prompts by the live model: rewarded, compared within groups, learned from several times.

An iteration takes the next `asked` prompts, draws `group` completions of each from softmax(z / τ), rewards them, and serves them `epochs`
times in random minibatches of `train.batch` rows. With R_i the rewards of one prompt's group of G, a completion's advantage is

    normalised     (R_i - mean) / (std + 10⁻⁴)   GRPO: Shao et al. 2024, arXiv:2402.03300
    centred        R_i - mean                    Dr. GRPO: Liu et al. 2025, arXiv:2503.20783; easy and hard prompts count alike
    leave_one_out  R_i - mean of the others      RLOO: Ahmadian et al. 2024, arXiv:2402.14740
    generalised    A_t by the model's own values PPO of texts: Ouyang et al. 2022, arXiv:2203.02155; each token has its own

where, V_t being what the model values the text at before token t and R_i coming with the last token, as in `rollouts`
    δ_t = r_t + γ V_{t+1} - V_t,   A_t = δ_t + γ λ A_{t+1},   return_t = A_t + V_t
and the A_t of all tokens of an iteration are then shifted and scaled to mean 0 and variance 1.

Draws are keyed by (seed, iteration, row, position). Log-probabilities of the policy that wrote are worked out in one pass over the whole rows,
by the same function the objective uses, so the first ratios are 1 and not nearly 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from ftheta.architectures.architecture import Architecture, call
from ftheta.core.config import Slot, slot
from ftheta.core.contract import PADDING, Batch, Ports
from ftheta.core.errors import ConfigError, DataError, Problem
from ftheta.core.log import logger
from ftheta.core.random import generator, key
from ftheta.data.chat.prepare import prepare_chat
from ftheta.data.chat.rows import Talks
from ftheta.data.pack import Pack
from ftheta.data.processors.text import TextProcessor
from ftheta.data.source import Dataset
from ftheta.data.sources import PROMPTS
from ftheta.data.sources.chat import Answered
from ftheta.data.sources.source_config import Prepared, Sections
from ftheta.data.stages import digest
from ftheta.experience import REWARDS
from ftheta.experience.experience import ExperienceConfig
from ftheta.experience.iterations import Iterations
from ftheta.experience.rewards.reward import Completion, Reward, worth
from ftheta.experience.rollouts import advantages as estimates
from ftheta.inference.generate import Generation
from ftheta.inference.request import Request
from ftheta.inference.sampling import Sampling
from ftheta.objectives.completion_policy import said_of

TOGETHER = 256
"""Completions written in one batch."""
SHOWN = 3
"""Completions shown of an iteration."""


class CompletionsConfig(ExperienceConfig):
    """What to complete, how often, and what a completion is worth."""

    sections = frozenset({"split", "tokenizer"})
    kind: Literal["completions"] = "completions"
    prompts: Annotated[Answered, Slot(PROMPTS)] = slot("arithmetic")
    """Where prompts come from: what is asked before the last answer of a conversation; that answer is what rewards may compare with."""
    rewards: tuple[Annotated[Reward, Slot(REWARDS)], ...] = Field(default=({"kind": "arithmetic"},), min_length=1, validate_default=True)  # type: ignore[arg-type]
    """What a completion is worth: the weighted sum of these."""
    asked: int = Field(default=32, gt=0)
    """Prompts completed between updates."""
    group: int = Field(default=8, gt=0)
    """Completions of every prompt; one is enough for `advantage: generalised` only."""
    most: int = Field(default=64, gt=0)
    """At most this many tokens are written."""
    longest: int = Field(default=256, gt=1)
    """Tokens of a row, prompt and completion together; longer prompts are left out."""
    temperature: float = Field(default=1.0, gt=0)
    """Divides the logits when drawing, τ, and when learning from what was drawn."""
    advantage: Literal["normalised", "centred", "leave_one_out", "generalised"] = "normalised"
    """What a completion's reward is compared with: its group's, or what the model itself expected (a `headed` decoder with readout `values`)."""
    gamma: float = Field(default=1.0, ge=0, le=1)
    """With `advantage: generalised`, the worth of a reward one token later, γ."""
    trace: float = Field(default=0.95, ge=0, le=1)
    """With `advantage: generalised`, how far an advantage looks ahead, λ: 0 trusts the value after the next token, 1 the reward alone."""
    epochs: int = Field(default=1, gt=0)
    """Times every completion is learned from."""

    @model_validator(mode="after")
    def leaves_room(self) -> CompletionsConfig:
        if self.most >= self.longest:
            raise ConfigError([Problem(("most",), f"{self.most:,} new tokens leave no room for a prompt in rows of {self.longest:,}: lower it, or raise longest")])
        if self.group == 1 and self.advantage != "generalised":
            raise ConfigError([Problem(("group",), "one completion of a prompt leaves nothing to compare it with: ask for 2 or more, or advantage: generalised")])
        return self

    @property
    def valued(self) -> bool:
        """Whether the model's own values are asked for."""
        return self.advantage == "generalised"

    def ports(self) -> Ports:
        columns = ("log_probability", "advantage", *(("value", "return") if self.valued else ()))
        real = dict.fromkeys(columns, "real B T")
        gives = {"tokens": "ids B T", "documents": "ids B T", "learned": "mask B T", **real, "temperature": "real B"}
        return Ports({"values": "real B T"} if self.valued else {}, gives, {"T": self.longest})

    def prepare(self, sections: Sections) -> Prepared:
        given = Sections(sections.tokenizer, sections.cache, split=sections.split, pack=Pack(length=self.longest), seed=sections.seed)
        found = prepare_chat(self.prompts.items(), self.prompts.template, given, answered=False)
        return Prepared(Ports(self.ports().takes, self.ports().gives, found.ports.sizes), found.processor, account=found.account, prompts=found.prompts)

    def shorter(self, rows: int) -> Self:
        return self.replace(asked=rows, group=2, most=min(self.most, 8), epochs=1)

    def source(self, batch: int, seed: int, prepared: Prepared) -> Completions:
        """The source of a run whose steps take `batch` rows."""
        return Completions(self, batch, seed, prepared)


class Question(NamedTuple):
    """A prompt, and the right answer as far as there is one."""

    ids: list[int]
    text: str
    answer: str


class Writer:
    """Completes questions with a model, and knows where a completion ends."""

    def __init__(self, processor: TextProcessor, most: int, temperature: float):
        self.processor = processor
        self.most = most
        self.temperature = temperature
        end = processor.turn_end()
        self.end = processor.id("eos") if end is None else end

    def questions(self, talks: Dataset, longest: int) -> list[Question]:
        """The prompts of a split, those left out that with a completion would be longer than `longest`. Raises DataError when none is left."""
        assert isinstance(talks, Talks)
        found = []
        for index in range(len(talks.encoded.offsets)):
            prompt, answer = talks.encoded.question(index)
            if len(prompt) + self.most <= longest:
                found.append(Question(prompt, self.processor.decode(prompt), self.processor.decode(answer)))
        if missing := len(talks.encoded.offsets) - len(found):
            logger.warning("%s of %s prompts are left out: with a completion they are longer than %s tokens", f"{missing:,}", f"{missing + len(found):,}", longest)
        if not found:
            raise DataError(f"no prompt is left: with {self.most} new tokens all are longer than {longest} tokens: raise data.source.longest, or lower most")
        return found

    def complete(self, model: Architecture, questions: Sequence[Question], seed: int) -> list[Completion]:
        """A completion of each question, drawn from softmax(z / τ) as it is: no token is left out, so that log p is that of the draw."""
        sampling = Sampling(temperature=self.temperature, top_p=1.0, seed=seed)
        requests = [Request(question.ids, sampling, self.most, row, end=self.end) for row, question in enumerate(questions)]
        for start in range(0, len(requests), TOGETHER):
            Generation(model, requests[start : start + TOGETHER], longest=None, end=self.end).finish()
        return [self.completion(question, request) for question, request in zip(questions, requests, strict=True)]

    def completion(self, question: Question, request: Request) -> Completion:
        ended = request.finish == "stop"
        new = [*request.new, self.end] if ended and self.end is not None else request.new
        return Completion(question.ids, new, question.text, self.processor.decode_after(question.ids, request.new), question.answer, ended)


class Completions(Iterations):
    """Iterations of `asked` · `group` completions."""

    def __init__(self, config: CompletionsConfig, batch_size: int, seed: int, prepared: Prepared):
        what = f"completions of an iteration (data.source.asked · group = {config.asked:,} · {config.group:,})"
        super().__init__(config.asked * config.group, what, config.epochs, batch_size, seed)
        assert isinstance(prepared.processor, TextProcessor)
        self.config = config
        self.prepared = prepared
        self.writer = Writer(prepared.processor, config.most, config.temperature)
        self.questions = self.writer.questions(prepared.prompts["train"], config.longest)
        self.pad = prepared.processor.id("pad") or 0
        self.facts: dict[str, float] = {}
        self.shown: list[dict[str, Any]] = []

    @property
    def ports(self) -> Ports:
        return self.prepared.ports

    @property
    def fingerprint(self) -> str:
        return digest([self.config.dump(), self.seed, self.prepared.prompts["train"].fingerprint])

    def act(self, model: Architecture, iteration: int) -> Batch:
        config = self.config
        asked = [self.questions[number] for number in self.numbers(iteration) for _ in range(config.group)]
        completions = self.writer.complete(model, asked, key(self.seed, "act", iteration))
        reward, each = worth(config.rewards, completions, self.prepared.judge)
        self.account(completions, reward, each)
        device = next(model.parameters()).device
        batch = {name: value.to(device) for name, value in rows_of(completions, self.pad, config.temperature).items()}
        parts = [{name: value[start : start + self.size] for name, value in batch.items()} for start in range(0, self.rows, self.size)]
        batch |= joined([said_of(model, lambda part: call(model, part), part) for part in parts])
        if self.prepared.reference is not None:
            batch |= joined([self.prepared.reference(part) for part in parts])
        if config.advantage == "generalised":
            batch["advantage"], batch["return"] = generalised(reward.to(device), batch["value"], batch["learned"], config.gamma, config.trace)
        else:
            advantage = advantages(reward.view(-1, config.group), config.advantage).flatten()
            batch["advantage"] = advantage[:, None].expand(batch["tokens"].shape).to(device)
        return {name: value.cpu().contiguous() for name, value in batch.items()}

    def numbers(self, iteration: int) -> list[int]:
        """Which questions an iteration asks: all of them in a random order, then all of them in another."""
        count, found = len(self.questions), list[int]()
        for place in range(iteration * self.config.asked, (iteration + 1) * self.config.asked):
            epoch, at = divmod(place, count)
            if not found or not at:
                order = torch.randperm(count, generator=generator(self.seed, "prompts", epoch)).tolist()
            found.append(order[at])
        return found

    def account(self, completions: Sequence[Completion], reward: Tensor, each: Mapping[str, Tensor]) -> None:
        """Keep what is reported of an iteration."""
        groups = reward.view(-1, self.config.group)
        level = groups.amax(1) == groups.amin(1)
        self.facts = {
            "reward": reward.mean().item(), **{f"reward_{name}": scores.mean().item() for name, scores in each.items() if len(each) > 1},
            **({"reward_spread": groups.std(1).mean().item(), "level_groups": level.float().mean().item()} if self.config.group > 1 else {}),
            "completion_tokens": sum(len(completion.new) for completion in completions) / len(completions),
            "ended": sum(completion.ended for completion in completions) / len(completions),
        }
        places = range(0, len(completions), self.config.group)[:SHOWN]
        self.shown = [{"prompt": completions[i].question, "completion": completions[i].text, "reward": reward[i].item()} for i in places]

    def statistics(self) -> dict[str, float]:
        """Of the last iteration: mean reward, its spread within groups, the share of groups that are level (nothing is learned from them), length."""
        return dict(self.facts)

    def exhibits(self) -> list[dict[str, Any]]:
        return list(self.shown)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        tensors, facts = super().state()
        return tensors, {**facts, "statistics": self.facts, "shown": self.shown}

    def restore(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
        super().restore(tensors, facts)
        self.facts, self.shown = dict(facts["statistics"]), list(facts["shown"])


def joined(parts: Sequence[Batch]) -> Batch:
    """The columns of all parts, one after another."""
    return {name: torch.cat([part[name] for part in parts]) for name in parts[0]}


def generalised(reward: Tensor, value: Tensor, learned: Tensor, gamma: float, trace: float) -> tuple[Tensor, Tensor]:
    """Advantages of mean 0 and variance 1, and returns, (B, T) each, of learned tokens whose completions' rewards (B,) these are; see the top of the file."""
    count = learned.sum(1)
    place = torch.arange(int(count.max()), device=count.device)
    real, last = place < count[:, None], place == count[:, None] - 1                       # (B, L): completions begin at 0 here
    before = torch.zeros(real.shape, device=value.device, dtype=value.dtype).masked_scatter(real, value[learned])
    after, earned = before.roll(-1, 1), last * reward[:, None].to(value)
    found = estimates(earned.t(), before.t(), after.t(), (last | ~real).t(), torch.zeros_like(last).t(), gamma, trace).t()[real]
    columns = value.new_zeros(2, *value.shape)
    columns[0][learned] = (found - found.mean()) / (found.std() + 1e-8)
    columns[1][learned] = found + value[learned]
    return columns[0], columns[1]


def advantages(reward: Tensor, kind: Literal["normalised", "centred", "leave_one_out"]) -> Tensor:
    """Advantages (P, G) of completions whose rewards these are; see the top of the file."""
    centred = reward - reward.mean(1, keepdim=True)
    if kind == "normalised":
        return centred / (reward.std(1, keepdim=True) + 1e-4)
    group = reward.shape[1]
    return centred * group / (group - 1) if kind == "leave_one_out" else centred


def rows_of(completions: Sequence[Completion], pad: int, temperature: float) -> Batch:
    """tokens, documents and learned (B, T) of prompts with their completions, padded on the right; temperature (B,)."""
    count, width = len(completions), max(len(completion.prompt) + len(completion.new) for completion in completions)
    tokens, documents = torch.full((count, width), pad), torch.full((count, width), PADDING)
    learned = torch.zeros(count, width, dtype=torch.bool)
    for row, completion in enumerate(completions):
        start, stop = len(completion.prompt), len(completion.prompt) + len(completion.new)
        tokens[row, :stop] = torch.tensor([*completion.prompt, *completion.new])
        documents[row, :stop] = 0
        learned[row, start:stop] = True
    return {"tokens": tokens, "documents": documents, "learned": learned, "temperature": torch.full((count,), temperature)}

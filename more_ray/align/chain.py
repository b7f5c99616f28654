"""The second half of the paper as one chain, each stage of which resumes where it stopped.

Preferences -> reward models -> for each, and each choice, the best of S answers -> a policy
fine-tuned on these -> answers of all policies, measured and judged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from more_ray import storage
from more_ray.align.gold import GOLD, preferences
from more_ray.align.measures import BASE
from more_ray.align.over_optimisation import best_of_curves
from more_ray.align.policies import divergence, measure
from more_ray.align.sources import BEST, check_sources, held_out
from more_ray.bars import SamplingProgress
from more_ray.cluster import shared_gpus
from more_ray.config import ModelConfig, RunConfig
from more_ray.config.align import AlignConfig
from more_ray.config.judge import JudgeConfig, JudgeEndpoint
from more_ray.config.sample import (
    PolicyConfig,
    RejectionSamplingConfig,
    SamplingConfig,
    SelectConfig,
)
from more_ray.environment import environment
from more_ray.errors import model_of_section
from more_ray.metrics.evaluation import Evaluation
from more_ray.metrics.shown_names import policy_name, shown_name
from more_ray.model.fingerprint import check_models, note_models
from more_ray.model.loading import check_reward_model
from more_ray.parquet import read_table, write_table, write_tables
from more_ray.run_folder import evaluation_of, model_of
from more_ray.sample.folder import complete
from more_ray.sample.prompts import read_prompts
from more_ray.sample.run import check_engine, sample_and_select
from more_ray.sample.schemas import BEST_SCHEMA, SCORED_SCHEMA
from more_ray.sample.scored import scored_prompts
from more_ray.sample.selection import select_again
from more_ray.sample.service_scoring import score_by_service
from more_ray.serve.app import scoring
from more_ray.train.comparison import train_all
from more_ray.train.run import run

JudgeBar = Callable[[str, int], AbstractContextManager[Callable[[], None]]]
"""Shows a text and a bar over so many questions; gives the function to call for each answer."""


def align(config: AlignConfig, stage: Callable[[str], None], judge_bar: JudgeBar) -> dict[str, Any]:
    """Run the chain; returns the content of `align.json`.

    `reward_models`: by scheme, the `mean` of its `eval.json`. `policies`: for the base and one
    policy per reward model and choice, the result of `measure`, `perplexity` of held-out answers by
    source, and the `reward_model` and the `choice` it was made by (None for the base). `best_of`:
    for each policy but the base, what the best of n samples gains. `gold`: with the names of two
    policies, the `preferences` of each of its heads. `judgements`: the results of `judge`, with the
    names of the two policies, for each criterion.

    Args:
        stage: called with the title of each stage that begins.

    Raises:
        UserError: a stage failed, and why; finished work is kept.
    """
    # The reward service may be in another working directory.
    reward = config.reward.changed(output_dir=storage.absolute(config.reward.output_dir))
    config = config.changed(output_dir=storage.absolute(config.output_dir), reward=reward)
    chain = _Chain(config)
    stage("1/5 Reward models")
    rewards = chain.train_reward_models()
    stage("2/5 The best of the policy's answers")
    chain.sample_best()
    stage("3/5 Fine-tuning on them")
    evaluations = chain.finetune()
    stage("4/5 Answers of the policies")
    measures = chain.evaluate()
    judgements = []
    if config.judge:
        stage("5/5 Judging them")
        judgements = chain.judge(config.judge, judge_bar)
    for name, evaluation in evaluations.items():
        sources = evaluation["sources"].items()
        measures[name]["perplexity"] = {
            source: numbers for source, numbers in sources if source != BEST
        }
        reward, choice = chain.made_by.get(name, (None, None))
        measures[name] |= {"reward_model": reward, "choice": choice}
    result = {
        "environment": environment(),
        "reward_models": {name: evaluation["mean"] for name, evaluation in rewards.items()},
        "policies": measures,
        "best_of": chain.best_of(),
        "gold": chain.gold(),
        "judgements": judgements,
    }
    storage.write_json(storage.join(config.output_dir, "align.json"), result)
    return result


class _Chain:
    """The stages of the chain and their folders.

    A policy has the name of its reward model, and of the choice where that is not shared.
    """

    def __init__(self, config: AlignConfig) -> None:
        self._config = config
        reward = config.reward
        self._names = list(dict.fromkeys([reward.objective.scheme, *reward.compare]))
        self._rewards: dict[str, ModelConfig] = {GOLD: config.gold} if config.gold else {}
        self._scorers = [*self._names, *self._rewards]
        self.made_by = {
            name if choice == "shared" else f"{name}-{choice}": (name, choice)
            for name in self._names
            for choice in config.choices
        }
        self._policies: dict[str, PolicyConfig] = {
            BASE: config.policy,
            **{
                name: config.policy.at(model_of(self._folder("policies", name)))
                for name in self.made_by
            },
        }
        check_engine(config.policy)
        if config.gold:
            with model_of_section(GOLD):
                check_reward_model(config.gold)
        check_sources(config)
        read_prompts(config.prompts, config.limit)
        read_prompts(config.eval_prompts, config.eval_limit)

    def _folder(self, *parts: str) -> str:
        return storage.join(self._config.output_dir, *parts)

    def train_reward_models(self) -> dict[str, Evaluation]:
        """Train the reward models; returns their evaluations, by scheme."""
        folders = dict(zip(self._names, train_all(self._config.reward), strict=True))
        self._rewards |= {name: _model(folder) for name, folder in folders.items()}
        models = {**self._rewards, BASE: self._config.policy}
        check_models(self._config.output_dir, "policies", models)
        note_models(self._config.output_dir, models)
        return {name: evaluation_of(folder) for name, folder in folders.items()}

    def sample_best(self) -> None:
        config = self._config
        policies = {self._folder(BEST): config.policy}
        self._sample(policies, config.prompts, config.limit, config.sampling)
        waiting = [name for name in self.made_by if not storage.exists(self._best(name))]
        samples = self._samples(BEST) if waiting else {}
        for policy in waiting:
            reward, choice = self.made_by[policy]
            scored = select_again(samples[reward], SelectConfig(by=choice))
            best = scored.filter(scored["selected"]).select(BEST_SCHEMA.names)
            write_tables(self._best(policy), [best], BEST_SCHEMA)

    def best_of(self) -> dict[str, dict[str, Any]]:
        """For each policy, what the best of n samples gains as n grows."""
        samples = self._samples(BEST)
        prompts = {name: list(scored_prompts(table)) for name, table in samples.items()}
        return {
            policy: best_of_curves(prompts, reward, choice, GOLD if self._config.gold else None)
            for policy, (reward, choice) in self.made_by.items()
        }

    def _best(self, policy: str) -> str:
        return self._folder(BEST, policy, "best.parquet")

    def finetune(self) -> dict[str, Evaluation]:
        """Fine-tune the policies; returns the evaluations of these and of the base."""
        first = next(iter(self.made_by))
        evaluations = {BASE: run(self._finetuning(BASE, first, max_steps=0))}
        return evaluations | {name: run(self._finetuning(name, name)) for name in self.made_by}

    def evaluate(self) -> dict[str, dict[str, Any]]:
        """The measures of each policy's answers to the evaluation prompts."""
        config = self._config
        policies = {
            self._folder("answers", name): policy for name, policy in self._policies.items()
        }
        sampling = config.sampling.changed(samples=config.eval_samples)
        self._sample(policies, config.eval_prompts, config.eval_limit, sampling)
        base = self._samples("answers", BASE)
        measures = {}
        for name, policy in self._policies.items():
            samples = self._samples("answers", name)
            scored = samples[self._names[0]]
            _write_first_answers(scored, self._answers(name))
            if name == BASE:
                measures[name] = measure(samples, base, None)
            else:
                # Beside the samples that it is of, so that both are deleted together.
                uri = self._folder("answers", name, self._names[0], "kl.parquet")
                prompt_tokens = config.sampling.max_prompt_tokens
                kl = divergence(policy, config.policy, scored, prompt_tokens, uri)
                measures[name] = measure(samples, base, kl)
        return measures

    def gold(self) -> list[dict[str, Any]]:
        """The preferences of the gold reward model; none where there is no such model."""
        if not self._config.gold:
            return []
        answers = {name: self._samples("answers", name)[GOLD] for name in self._policies}
        return [
            {"policy": ours, "other": theirs, "head": head, **shares}
            for ours, theirs in self._compared()
            for head, shares in preferences(answers[ours], answers[theirs]).items()
        ]

    def judge(self, endpoint: JudgeEndpoint, judge_bar: JudgeBar) -> list[dict[str, Any]]:
        """The judge's results for all that is compared, by each criterion."""
        from more_ray.judge.cache import AnswerCache  # imports openai, which not everybody has
        from more_ray.judge.run import estimate, judge, make_plan

        judgements = []
        for ours, theirs in self._compared():
            for criterion in self._config.criteria:
                config = JudgeConfig(
                    **endpoint.model_dump(),
                    answers=self._answers(ours),
                    against=self._answers(theirs),
                    output_dir=self._folder("judged", f"{ours}-{theirs}-{criterion}"),
                    criterion=criterion,
                )
                with AnswerCache(config.cache) as cache:
                    plan = make_plan(config, cache)
                    both = f"{self._shown(ours)} against {self._shown(theirs)}"
                    text = f"{both}, {criterion}: {estimate(config, plan)}"
                    with judge_bar(text, len(plan.todo)) as on_answer:
                        result = judge(config, plan, cache, on_answer)
                judgements.append({"policy": ours, "other": theirs, **result})
        return judgements

    def _compared(self) -> list[tuple[str, str]]:
        """Each policy and the base; the first policy and each other."""
        first, *others = self.made_by
        return [(name, BASE) for name in self.made_by] + [(first, other) for other in others]

    def _shown(self, name: str) -> str:
        return policy_name(*self.made_by[name]) if name in self.made_by else name

    def _answers(self, name: str) -> str:
        return self._folder("answers", name, "answers.parquet")

    def _samples(self, *folder: str) -> dict[str, pa.Table]:
        """A policy's samples, by the reward model that scored them."""
        return {
            by: complete(read_table(self._folder(*folder, by, "samples.parquet")), SCORED_SCHEMA)
            for by in self._scorers
        }

    def _sample(
        self,
        policies: Mapping[str, PolicyConfig],
        prompts: str,
        limit: int | None,
        sampling: SamplingConfig,
    ) -> None:
        """Sample answers of policies (by their folders) once; score them by each reward model."""
        for name in self._scorers:
            source = None if name == self._names[0] else self._names[0]
            reward = self._rewards[name]
            with scoring(reward, self._config.output_dir, shared_gpus(None, 1)) as app:
                for folder, policy in policies.items():
                    sample_config = RejectionSamplingConfig(
                        output_dir=storage.join(folder, name),
                        prompts=prompts,
                        limit=limit,
                        policy=policy,
                        sampling=sampling,
                        reward=reward,
                        samples_from=source and storage.join(folder, source),
                    )
                    by = f"score by {shown_name(name)}"
                    verb = by if source else f"sample, {by}"
                    with SamplingProgress(verb) as progress:
                        sample_and_select(
                            sample_config, partial(score_by_service, app), progress.show
                        )

    def _finetuning(self, name: str, best_by: str, **train: Any) -> RunConfig:
        """The run that fine-tunes a policy on the best answers, as chosen for a policy."""
        tuning = self._config.finetune
        sources = [f"{BEST}={self._best(best_by)}", *held_out(tuning.data)]
        data = tuning.data.changed(sources=sources, train_on=[BEST])
        return tuning.changed(
            output_dir=self._folder("policies", name),
            model=self._config.policy,
            data=data,
            train=tuning.train.changed(**train),
        )


def _model(run_folder: str) -> ModelConfig:
    return ModelConfig(path=model_of(run_folder))


def _write_first_answers(samples: pa.Table, uri: str) -> None:
    """The first answer to each prompt, as the judge reads them."""
    first = samples.filter(pc.equal(samples["sample"], 0))
    first = first.select(["row", "prompt", "response"])
    write_table(uri, first)

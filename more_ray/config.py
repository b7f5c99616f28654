"""What a run is: one pydantic model, a docstring under every field."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, field_validator, model_validator
from typing_extensions import Self


class Section(BaseModel):
    model_config = ConfigDict(
        extra="forbid", use_attribute_docstrings=True, frozen=True, allow_inf_nan=False
    )

    def changed(self, **changes: Any) -> Self:
        """A copy with other values, validated as if it had been given so."""
        given = {name: getattr(self, name) for name in self.model_fields_set}
        return type(self).model_validate(given | changes)


class SimulatorConfig(Section):
    sources: int = Field(5, ge=1, le=64)
    """Annotator populations to simulate: K."""
    pairs: int = Field(1_500, ge=2)
    """Training pairs of each population."""
    test_pairs: int = Field(500, ge=2)
    """Test pairs of each population."""
    drift: float = Field(0.8, ge=0)
    """Size of each population's own drift, relative to the reward that all share (4)."""
    noise: float = Field(1.0, gt=0)
    """Temperature of the Bradley-Terry labels; 1 is the model's own noise."""
    seed: int = Field(0, ge=0)
    """Seed of the populations and of their pairs."""


class DataConfig(Section):
    root: str | None = None
    """Folder (path or URI) of `<source>.<split>.parquet|jsonl|jsonl.gz|json|csv` files."""
    sources: list[str] = []
    """Names in `root`, names on the hub (helpful, harmless, oasst1, webgpt, summarize;
    `helpful@COMMIT` pins one), paths or URIs, or `name=path`. Empty: every source in `root`, or the
    simulator where root is unset."""
    train_on: list[str] = []
    """Names of the sources to train on, where that is not all of them; all are evaluated."""
    simulator: SimulatorConfig = SimulatorConfig()
    """The built-in simulator, used when neither `root` nor `sources` is set."""
    pairs_per_source: int | None = Field(40_000, ge=1)
    """At most this many training pairs of a source, a seeded sample (the paper: 40,000)."""
    resample: bool = True
    """True: every source gives the same number of pairs a step and smaller sources are repeated
    (the paper). False: every pair once an epoch, each source in proportion to its size."""
    test_pairs: int | None = Field(2_000, ge=1)
    """At most this many test pairs of a source, a seeded sample."""
    test_fraction: float = Field(0.1, gt=0, lt=1)
    """Share of prompts held out for testing where a source has no test file. An evaluation that
    does not set it scores such a file whole, unless the model was trained on it."""
    max_length: int = Field(512, ge=8)
    """Tokens of a prompt and its answer; longer ones lose their beginning."""
    on_leak: Literal["warn", "drop", "error"] = "warn"
    """Where a training pair has the prompt of a test pair, of any source: say so, leave the
    training pair out, or stop."""
    max_reject_share: float = Field(0.3, ge=0, le=1)
    """Preparation fails where a larger share of a source's pairs is unusable."""
    seed: int = Field(0, ge=0)
    """Seed of sampling, shuffling and the test split."""
    prepared: str = "~/.cache/more_ray/prepared"
    """Folder (path or URI, shared by all nodes) of prepared data, reused by fingerprint."""


class LoraConfig(Section):
    rank: int = Field(16, ge=1)
    """Rank of the update matrices."""
    alpha: float = Field(32, gt=0)
    """Scale of the update: alpha / rank."""
    dropout: float = Field(0.0, ge=0, lt=1)
    """Dropout before the update."""
    targets: list[str] | Literal["all-linear"] = "all-linear"
    """Names of the linear layers that get an update."""


class ModelConfig(Section):
    path: str = "tiny"
    """Any causal LM: a folder, a hub name, a `.gguf` file, `package:NAME/FILE` for a file inside
    an installed Python package, or `tiny`: a small LLaMA with random weights whose tokenizer is
    made from the simulator's words."""
    revision: str | None = None
    """Commit or tag on the hub."""
    layers: int | None = Field(None, ge=1)
    """Keep only the first N blocks."""
    lora: LoraConfig | None = None
    """Train low-rank updates and the score head instead of all weights."""
    batch_format: Literal["auto", "packed", "padded"] = "auto"
    """packed: no padding, the shared prompt once. padded: two rows a pair. auto: packed where the
    model's architecture can be."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model."""
    chat_template_kwargs: dict[Annotated[str, Field(pattern=r"^[a-zA-Z_]\w*$")], JsonValue] = {}
    """Variables of the chat template (`enable_thinking`, `date_string` ...). They are kept with the
    run and the exported template."""


SCORING_TOKENS = {"cpu": 8_192, "cuda": 32_768}
"""Tokens of one scoring batch: fewer would not fill a GPU."""

NEED_GRADIENTS = ("more",)
"""Schemes whose weights are solved from gradients of the head."""


class ObjectiveConfig(Section):
    scheme: Literal["more", "uniform", "proportional", "fixed"] = "more"
    """Source weights: more solves (9) each step; uniform; proportional to |D_i| (the paper's
    MultiTask); fixed takes `weights`."""
    weights: dict[str, float] | None = None
    """Weight of each source for scheme=fixed; they are scaled to sum to one."""
    normalize: Literal["none", "l2", "loss", "loss+"] = "none"
    """What gradients are divided by before the solve: the paper none, its released code l2."""
    momentum: float = Field(0.0, ge=0, lt=1)
    """Share of the previous gradient average that is kept."""
    scope: Literal["global", "rank", "batch"] = "global"
    """global: one lam a micro-batch, from the gradients of all workers. rank: each worker its own.
    batch: one lam for all micro-batches of an optimizer step, exact, for a second forward pass
    (about a third more work); the same as global where train.accumulation=1."""
    solver: Literal["active_set", "frank_wolfe"] = "active_set"
    """active_set is exact; frank_wolfe is the paper's plain iteration."""
    loss: Literal["ranking", "dpo", "sft"] = "ranking"
    """ranking: a reward head on the model's trunk. dpo: no reward head; the reward of an answer is
    `beta` times what its log-likelihood gains over the untrained model's (K * vocabulary * hidden
    size numbers go into each lam). sft: the negative log-likelihood of the chosen answers (3), for
    weights that are known beforehand; records need no rejected answer."""
    beta: float = Field(0.1, gt=0)
    """Scale of the implicit reward of loss=dpo."""
    margin: bool = False
    """Subtract a pair's margin, where it has one, from its reward difference."""

    @model_validator(mode="after")
    def _scheme_fits(self) -> ObjectiveConfig:
        if (self.scheme == "fixed") != (self.weights is not None):
            raise ValueError("objective.weights is given exactly when objective.scheme=fixed")
        if self.loss == "sft" and (self.scheme in NEED_GRADIENTS or self.scope != "global"):
            raise ValueError(
                "objective.loss: sft allows objective.scheme=uniform, proportional or fixed, and "
                "objective.scope=global"
            )
        if self.weights is not None and (
            min(self.weights.values(), default=0) < 0 or sum(self.weights.values()) <= 0
        ):
            raise ValueError("objective.weights: weights >= 0 with a sum above 0 are allowed")
        return self


class OptimizerConfig(Section):
    lr: float = Field(1e-6, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["linear", "cosine", "constant"] = "linear"
    """Decay after warm-up; linear and cosine end at zero."""
    warmup: float = Field(0.0, ge=0, lt=1)
    """Share of the steps spent on linear warm-up."""
    weight_decay: float = Field(0.0, ge=0)
    """Decoupled weight decay."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's averaging coefficients."""
    clip: float = Field(1.0, ge=0)
    """Largest norm of the whole gradient; 0 turns clipping off."""


class TrainConfig(Section):
    workers: int = Field(1, ge=1)
    """Ray Train workers, one device each."""
    min_workers: int | None = Field(None, ge=1)
    """Start, and go on after a node is lost, with as few as this where the cluster has no room for
    `workers`. Unset: wait for all."""
    grow_after: float = Field(600, gt=0)
    """With `min_workers`: seconds after which, where there is room for more workers, all are
    started again with them from the last checkpoint; what was done since is done again."""
    use_gpu: bool | None = None
    """A GPU for each worker. Unset: when the cluster has enough. A run goes on on what it was begun
    on."""
    pairs_per_source: int = Field(16, ge=1)
    """B: pairs of each source in a global micro-batch, over all workers (the paper: 16)."""
    accumulation: int = Field(1, ge=1)
    """Micro-batches an optimizer step; each has its own lam unless objective.scope=batch."""
    epochs: int = Field(1, ge=1)
    """Passes over the largest source (resample) or over all pairs."""
    max_steps: int | None = Field(None, ge=0)
    """Stop after this many micro-batches; 0 evaluates the untrained model."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """auto: bf16 on a GPU, and on a CPU that a short measurement finds much faster in it, else
    fp32. A run goes on in what it was begun in."""
    zero_stage: Literal[0, 1, 2, 3] = 0
    """DeepSpeed ZeRO stage."""
    offload: bool = False
    """Keep optimizer state (and at stage 3 parameters) in CPU memory."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, about 1.3 times the work."""
    compile: bool = False
    """Compile the model's blocks with torch.compile, which needs a C++ compiler on CPUs and Triton
    on GPUs."""
    eval_every: int | None = Field(None, ge=1)
    """Evaluate every N micro-batches, not only at the end."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Save a resumable checkpoint every N micro-batches. Unset: about ten in a run."""
    keep_checkpoints: int = Field(2, ge=1)
    """Newest checkpoints to keep."""
    max_failures: int = Field(3, ge=0)
    """Restarts of the workers from the last checkpoint after a failure; that a node which was
    announced is taken away is none."""
    stall_timeout: int = Field(1_800, ge=1)
    """Seconds that a worker may not answer or keep the others waiting before all are started again
    from the last checkpoint; it counts as a failure."""
    max_skipped: int = Field(10, ge=1)
    """An optimizer step whose loss or gradient is not finite is skipped; after this many in a row
    the run stops."""
    eval_tokens: int | None = Field(None, ge=512)
    """Tokens of one scoring batch in evaluation. Unset: 8,192, on a GPU 32,768."""
    threads: int | None = Field(None, ge=1)
    """CPU threads of a worker. Unset: the node's cores shared out."""
    seed: int = Field(0, ge=0)
    """Seed of the score head, the order of the pairs and dropout."""

    @model_validator(mode="after")
    def _cadence_is_whole_optimizer_steps(self) -> TrainConfig:
        for key in ("checkpoint_every", "eval_every"):
            if (getattr(self, key) or 0) % self.accumulation:
                raise ValueError(f"train.{key}: a multiple of train.accumulation is allowed")
        if (self.min_workers or 1) > self.workers:
            raise ValueError("train.min_workers: at most train.workers is allowed")
        if self.compile and self.zero_stage == 3:
            raise ValueError("train.compile: needs train.zero_stage 0, 1 or 2")
        if self.compile and self.gradient_checkpointing:
            raise ValueError("train.compile: cannot be used with train.gradient_checkpointing")
        if self.offload and self.zero_stage == 0:
            raise ValueError("train.offload: needs train.zero_stage 1, 2 or 3")
        return self


class EvaluationConfig(Section):
    output_dir: str = "outputs/evaluation"
    """Where `eval.json` and `scores.parquet` go: a path, or any URI that pyarrow's filesystems
    open."""
    name: str | None = None
    """What to call the model; unset, the last part of `model.path` that is not `model`."""
    model: ModelConfig
    """The reward model: `model.path` is a run's `model` folder, or any sequence classifier with one
    output in a folder or on the hub."""
    against: str | None = None
    """Folder of another evaluation or run on the same pairs: its `scores.parquet` is compared with
    this model's, pair by pair."""
    data: DataConfig = DataConfig()
    """Whose test pairs are scored."""
    bins: int = Field(10, ge=1)
    """Bins of the calibration errors (the paper: 10)."""
    resamples: int = Field(1_000, ge=100)
    """Draws of each bootstrap and permutation."""
    workers: int = Field(1, ge=1)
    """Processes that score, one device each."""
    use_gpu: bool | None = None
    """A GPU for each worker. Unset: when the cluster has enough."""
    batch_tokens: int | None = Field(None, ge=512)
    """Tokens of one scoring batch. Unset: 8,192, on a GPU 32,768."""
    seed: int = Field(0, ge=0)
    """Seed of the draws."""
    verbose: bool = False
    """Show the logs of Ray and the workers."""


class ReportConfig(Section):
    runs: list[str] = Field(min_length=1)
    """Folders of runs or evaluations of the same pairs; the page is about the first."""
    output: str = "report.html"
    """The page: a path, or any URI that pyarrow's filesystems open."""


class LogConfig(Section):
    tensorboard: bool = False
    """Write TensorBoard events to `output_dir`/tensorboard (a local folder)."""
    mlflow: str | None = None
    """MLflow tracking URI to log to."""
    wandb: str | None = None
    """Weights & Biases project to log to (`WANDB_MODE=offline` needs no account)."""
    verbose: bool = False
    """Show the logs of Ray, DeepSpeed and the workers."""


class RunConfig(Section):
    output_dir: str = "outputs/more"
    """The run's folder: a path, or any URI that pyarrow's filesystems open."""
    init_from: str | None = None
    """Folder of a run whose model training starts from, instead of `model.path`: with
    `data.train_on=[NAME]` it specialises a shared model to one preference."""
    compare: list[Literal["more", "uniform", "proportional", "raw", "single", "averaging"]] = []
    """Show these beside the run, all in folders of `output_dir`: other schemes; raw, the untrained
    model; single, a model for each source (the paper's Top); averaging, the mean of their
    rewards."""
    data: DataConfig = DataConfig()
    """What to learn from."""
    model: ModelConfig = ModelConfig()
    """What is trained."""
    objective: ObjectiveConfig = ObjectiveConfig()
    """What is minimised."""
    optimizer: OptimizerConfig = OptimizerConfig()
    """How it is minimised."""
    train: TrainConfig = TrainConfig()
    """Workers, batches, precision, checkpoints."""
    log: LogConfig = LogConfig()
    """Where metrics go besides `output_dir`."""

    @model_validator(mode="after")
    def _lam_of_ranks_needs_the_same_ranks(self) -> RunConfig:
        if self.objective.scope == "rank" and self.train.min_workers:
            raise ValueError("train.min_workers: cannot be used with objective.scope=rank")
        return self

    @model_validator(mode="after")
    def _policies_train_all_weights_packed(self) -> RunConfig:
        loss = self.objective.loss
        if loss != "ranking":
            if self.model.lora:
                raise ValueError(f"model.lora: cannot be used with objective.loss={loss}")
            if self.model.batch_format == "padded":
                raise ValueError(
                    f"model.batch_format: objective.loss={loss} allows auto and packed"
                )
        if loss == "sft" and self.compare:
            raise ValueError("compare: cannot be used with objective.loss=sft")
        return self


class PairsRunConfig(RunConfig):
    """A run that learns from pairs, and is evaluated on them."""

    @field_validator("objective")
    @classmethod
    def _learns_pairs(cls, objective: ObjectiveConfig) -> ObjectiveConfig:
        if objective.loss == "sft":
            raise ValueError("loss: ranking and dpo are allowed; jobs/finetune.py is for sft")
        return objective


FREE_TO_CHANGE = {
    "prepared",
    "min_workers",
    "use_gpu",
    "grow_after",
    "eval_every",
    "eval_tokens",
    "checkpoint_every",
    "keep_checkpoints",
    "max_failures",
    "stall_timeout",
    "max_skipped",
    "threads",
}
"""Settings that may differ when a run goes on: they do not change what is learnt."""

"""Stage 7, canary: the record of a rollout while it runs. Every change it may make is core/rollout_change.py.

One history of these records per model and namespace, each written by compare-and-swap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from airflow_ml.core.arms import arm_name
from airflow_ml.core.artifact import Artifact
from airflow_ml.core.assessment import NOTHING_YET, Tally
from airflow_ml.core.canary import CONCLUDED, INCONCLUSIVE, INSTALLED, PROMOTED, ROLLED_BACK
from airflow_ml.core.fingerprint import identity
from airflow_ml.core.record import JSON, Record
from airflow_ml.core.rollout_look import Act, ArmLook, Look
from airflow_ml.core.rollout_plan import SPLIT, RolloutPlan

CREATED, RUNNING, PARKED, CONFLICT = "created", "running", "parked", "conflict"
LIVE = (CREATED, RUNNING)
#: Ends in which the challenger answers everything; in all others it answers nothing.
SERVING_ENDS = (PROMOTED, INSTALLED)
ENDS = (*SERVING_ENDS, ROLLED_BACK, INCONCLUSIVE, CONFLICT, CONCLUDED)
#: In all of these the challenger answers nothing and nobody leads.
RESTS = (*ENDS, PARKED)
#: Why a rollout ended: by its evidence, or a human's promotion; or because something came between (its owner was lost
#: or told to stop, metric or router were out of reach, somebody else took over). Only that its own task tries again.
BY_EVIDENCE, BY_INTERRUPTION = "evidence", "interruption"


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutState(Record):
    """The newest entry of ``rollouts/<namespace>/<model>``."""

    model: str
    namespace: str
    #: Grows with every rollout; the metric is read by it.
    epoch: int
    #: The epoch of the last write to the router: ``epoch`` while live, one more from the intent to end on, and again
    #: one more when a parked rollout goes on.
    router_epoch: int
    #: Grows when another attempt of the same owner takes over; the attempt before it may no longer act.
    claim: int
    state: str
    #: The end that is under way, None while live or ended.
    pending: str | None
    cause: str
    reason: str
    plan: RolloutPlan
    #: Index into the plan's steps; -1 before the first.
    step: int
    weight_percent: float
    #: Whether the router was read back with this weight.
    confirmed: bool
    champion: Mapping[str, JSON] | None
    challenger: Mapping[str, JSON]
    #: Who leads it: dag, run, task and map index, without the try number.
    owner: str
    #: The name by which its router is found (an Airflow connection id), so that a reconciler asks the right one.
    router_name: str = ""
    #: Wall clock; None from the end on.
    lease_expires_at: datetime | None
    #: Wall clock.
    started_at: datetime
    #: Data clock: the watermark when the first step, and when this step, began.
    started_watermark_at: datetime | None = None
    step_watermark_at: datetime | None = None
    watermark_at: datetime | None = None
    #: Wall clock: when the watermark last moved, and since when metric or router are out of reach.
    progress_at: datetime | None = None
    trouble_since_at: datetime | None = None
    weights: tuple[float, ...] = ()
    looks: int = 0
    last_look: Look | None = None
    #: All looks up to an entry of the history, as JSON lines; later ones are in the history itself until the next step.
    evidence: Artifact | None = None
    evidence_through: int = 0
    #: Why no step follows until a human says so; empty where nothing is held.
    held: str = ""
    #: The newest acts of humans, oldest first.
    acts: tuple[Act, ...] = ()
    #: The challenger, by arm, that a human wants promoted without more evidence; empty otherwise. The act says who.
    promote_arm: str = ""
    #: Data clock: since when ``max_data_days`` counts anew, after a human let the rollout go on.
    resumed_watermark_at: datetime | None = None
    #: The router's epochs after each approval: the metric is read by them as well.
    reentry_epochs: tuple[int, ...] = ()
    #: How the looks came out, for the plan's limits.
    tally: Tally = NOTHING_YET
    #: Further challengers, the arms ``challenger-2`` and so on.
    others: tuple[Mapping[str, JSON], ...] = ()
    #: Of several challengers what the last look at each of them saw, stopped ones included.
    seen_arms: tuple[ArmLook, ...] = ()
    #: Challengers that answer nothing any more, by arm, and why.
    stopped: Mapping[str, str] = field(default_factory=dict)
    #: Of several challengers the arm that alone goes on; empty until one is chosen.
    chosen: str = ""
    #: The last epoch in which the champion was compared with itself: what was measured up to it decides nothing.
    same_epoch: int = 0

    @property
    def challengers(self) -> dict[str, Mapping[str, JSON]]:
        """All challengers by arm, in order."""
        return {arm_name(index): variant for index, variant in enumerate((self.challenger, *self.others))}

    @property
    def candidate(self) -> Mapping[str, JSON]:
        """The challenger that is promoted, if one is: the chosen one of several."""
        return self.challengers[self.chosen] if self.chosen else self.challenger

    @property
    def kind(self) -> str:
        """The kind of the step under way; that of a split before the first one."""
        return self.plan.steps[self.step].kind if self.step >= 0 else SPLIT

    @property
    def live(self) -> bool:
        """Whether somebody leads it: it neither ended nor waits for a human at weight 0."""
        return self.state in LIVE

    @property
    def metric_epochs(self) -> tuple[int, ...]:
        """The epochs whose traffic is this rollout's, oldest first, those of the champion against itself included."""
        return (self.epoch, *self.reentry_epochs)

    @property
    def data_days(self) -> float:
        """Days on the data clock since the challenger's first traffic, at the last look."""
        return self.last_look.data_days if self.last_look is not None else 0.0

    @property
    def salt(self) -> str:
        """Salt of the sticky hash: a unit keeps its variant for this rollout and is drawn anew in the next."""
        return identity("rollout", self.namespace, self.model, str(self.epoch))

    def expired(self, now: datetime) -> bool:
        """Whether nobody renewed the lease in time."""
        return self.lease_expires_at is not None and self.lease_expires_at <= now

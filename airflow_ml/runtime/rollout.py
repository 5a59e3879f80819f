"""Leads a rollout: one record by compare-and-swap, one router fenced by epoch, one metric, one look at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from airflow_ml.core.canary import INCONCLUSIVE, INSTALLED, ROLLED_BACK
from airflow_ml.core.failpoint import fp
from airflow_ml.core.fingerprint import digest_json
from airflow_ml.core.ports import Traffic
from airflow_ml.core.record import JSON
from airflow_ml.core.rollout_change import adopted, busy, confirmed, created, ending
from airflow_ml.core.rollout_forecast import Forecast, forecast, observe
from airflow_ml.core.rollout_human import closed
from airflow_ml.core.rollout_plan import RolloutPlan
from airflow_ml.core.rollout_state import BY_EVIDENCE, BY_INTERRUPTION, CREATED, PARKED, RolloutState
from airflow_ml.core.served_name import served_name
from airflow_ml.errors import AirflowMLError, MetricUnreadable, RefConflict, RouterFailed
from airflow_ml.runtime.rollout_history import At
from airflow_ml.runtime.rollout_lead import RolloutLead, lost


class RolloutDriver(RolloutLead):
    """Begins and leads the rollouts of one store, router and metric source.

    It keeps nothing in memory: any process can go on with any rollout. ``look``, ``roll_back`` and ``reconcile`` are in
    `RolloutLead`.

    Args:
        store: Holds the records and the evidence.
        router: Divides the traffic.
        metrics: Where the effect is read.
        clock: Wall clock (aware UTC), for leases.
        lease_seconds: How long a rollout may go without a look; then whoever sees it rolls it back. 180 s outlasts
            a restart of 90 s with room for a slow look.
        router_seconds: After this time without a write the router itself serves the champion. Longer than the lease,
            so that a reconciler has its chance to do it in the record too.
        champion_of: Asked just before a promotion for the version that is champion by the registry; a rollout whose
            baseline was replaced meanwhile ends as a conflict.
        router_name: Written into each record, so that a reconciler finds the router again.
    """

    def begin(
        self,
        plan: RolloutPlan,
        model: str,
        namespace: str,
        champion: Mapping[str, JSON],
        challenger: Mapping[str, JSON],
        owner: str,
        *,
        others: Sequence[Mapping[str, JSON]] = (),
    ) -> RolloutState:
        """Check everything that can be checked without traffic, and create the record at weight 0.

        The same owner again (a retry, a clear) gets its own rollout back: live at the same step with the same
        evidence, parked if it waits for an approval, or as it ended if evidence ended it. A rollout that ended because
        its owner was lost or told to stop starts anew.

        Args:
            plan: Fixed from here on.
            model: Its name in router and registry.
            namespace: Part of the record's name.
            champion: The variant to compare with, in the router's wire form.
            challenger: The variant to be promoted or not.
            owner: Who leads it; the same for every attempt of one task instance.
            others: Challengers beyond the first, as many as the plan is made for.

        Raises:
            RolloutBusy: somebody else's rollout of this model is under way.
            RouterFailed: the router serves another champion, or cannot load a variant.
            MetricUnreadable: no metric, no rollout.
            FencedOut: the router was written with a higher epoch meanwhile.
        """
        at = self._free(model, namespace, owner)
        if at is not None and _same(at.state, owner, challenger, others):
            if not at.state.live and (at.state.cause == BY_EVIDENCE or at.state.state == PARKED):
                return at.state
            if at.state.live:
                mine = adopted(at.state, owner=owner, now=self._clock(), lease_seconds=self._lease_seconds)
                at = self._history.append(at, mine)
                return at.state if mine.state != CREATED else self._preflight(at)
        in_effect = self._router.read(served_name(model, namespace))
        if in_effect is not None and in_effect.champion.get("version") != champion.get("version"):
            raise RouterFailed(
                f"The router serves another champion of {model!r} than the registry names",
                f"version {in_effect.champion.get('version')} instead of {champion.get('version')}",
                "If a promotion was cut short, clear its task; else move the alias, or use rollback().",
            )
        return self._preflight(self._create(at, in_effect, plan, model, namespace, champion, challenger, owner, others))

    def forecast(self, plan: RolloutPlan, model: str, namespace: str) -> Forecast | None:
        """Return what a plan can show at the traffic that the router's champion has now; None where none is known.

        Traffic often begins only with the rollout: then nothing can be said before it.

        Raises:
            RouterFailed: the router cannot be read.
        """
        name = served_name(model, namespace)
        in_effect = self._router.read(name)
        if in_effect is None:
            return None
        try:
            observed = observe(self._metrics.read(name, metric=plan.metric, epoch=in_effect.epoch))
        except (MetricUnreadable, ValueError):
            return None  # whether the metric can be read is for the pre-flight to say, and its sums for the first look
        return forecast(plan, observed) if observed is not None else None

    def install(
        self,
        plan: RolloutPlan,
        model: str,
        namespace: str,
        challenger: Mapping[str, JSON],
        owner: str,
        *,
        champion: Mapping[str, JSON] | None = None,
        reason: str = "There was no champion",
    ) -> RolloutState:
        """Let a version answer everything, without a comparison: the first champion, or one that is put back.

        Args:
            plan: Kept in the record; nothing is decided by it.
            model: Its name in router and registry.
            namespace: Part of the record's name.
            challenger: The variant to serve.
            owner: Who does it; the same owner again gets the same record.
            champion: What answers until now, None where nothing does.
            reason: Why, for the record.

        Raises:
            RolloutBusy: a rollout of this model is under way.
            RouterFailed: the router cannot load it.
            FencedOut: the router was written with a higher epoch meanwhile.
        """
        at = self._free(model, namespace, owner)
        if at is not None and _same(at.state, owner, challenger) and at.state.state == INSTALLED:
            return at.state
        if at is None or at.state.pending != INSTALLED or not _same(at.state, owner, challenger):
            at = self._create(
                at,
                self._router.read(served_name(model, namespace)),
                plan,
                model,
                namespace,
                champion,
                challenger,
                owner,
            )
        with self._stopping_on_error(at, "installation"):
            return self._end(at, INSTALLED, reason=reason, cause=BY_EVIDENCE)

    def _preflight(self, at: At) -> RolloutState:
        with self._stopping_on_error(at, "pre-flight"):
            self._apply(at.state)
            fp("rollout.after_preflight_router")
            self._read(at.state)
            return self._history.append(at, confirmed(at.state)).state

    def _free(self, model: str, namespace: str, owner: str) -> At | None:
        """Return the newest record once no rollout of somebody else is live, ending what lost its owner.

        Raises:
            RolloutBusy: one is.
        """
        at = self._history.latest(model, namespace)
        if at is None or not at.state.live:
            if at is not None and at.state.state == PARKED and at.state.owner != owner:
                reason = f"It waited for an approval when {owner} began the next rollout"
                return self._history.append(at, closed(at.state, INCONCLUSIVE, reason=reason, cause=BY_INTERRUPTION))
            return at
        if at.state.expired(self._clock()):
            self.roll_back(at.state, lost(at.state))
            return self._history.latest(model, namespace)
        if at.state.owner != owner:
            raise busy(at.state)
        if at.state.pending not in (None, INSTALLED):
            self._end(at, at.state.pending, reason=at.state.reason, cause=at.state.cause)
            return self._history.latest(model, namespace)
        return at

    def _create(
        self,
        at: At | None,
        in_effect: Traffic | None,
        plan: RolloutPlan,
        model: str,
        namespace: str,
        champion: Mapping[str, JSON] | None,
        challenger: Mapping[str, JSON],
        owner: str,
        others: Sequence[Mapping[str, JSON]] = (),
    ) -> At:
        if at is not None and (at.state.live or at.state.state == PARKED):
            # Our own, but with another challenger: the alias moved between two attempts of one task.
            self.roll_back(at.state, "The challenger was replaced")
            at = self._history.latest(model, namespace)
        state = created(
            at.state if at else None,
            plan=plan,
            model=model,
            namespace=namespace,
            champion=champion,
            challenger=challenger,
            owner=owner,
            now=self._clock(),
            lease_seconds=self._lease_seconds,
            router_epoch=in_effect.epoch if in_effect else 0,
            router_name=self._router_name,
            others=others,
        )
        try:
            at = self._history.append(at, state)
        except RefConflict:
            newest = self._history.latest(model, namespace)
            raise busy(newest.state if newest else state) from None
        fp("rollout.after_create")
        return at

    @contextmanager
    def _stopping_on_error(self, at: At, what: str) -> Iterator[None]:
        """End a rollout that could not begin, so that the next one need not wait for its lease."""
        try:
            yield
        except AirflowMLError as error:
            self._stop(at.state, f"The {what} failed: {error}")
            raise

    def _stop(self, state: RolloutState, reason: str) -> None:
        at = self._history.current(state)
        if not at.state.live:
            return
        if at.state.pending != ROLLED_BACK:
            at = self._history.append(at, ending(at.state, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION))
        try:
            self._end(at, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION)
        except RouterFailed:
            return  # recorded; whoever comes next finishes it


def _same(
    state: RolloutState, owner: str, challenger: Mapping[str, JSON], others: Sequence[Mapping[str, JSON]] = ()
) -> bool:
    mine = digest_json([state.challenger, *state.others])
    return state.owner == owner and mine == digest_json([challenger, *others])

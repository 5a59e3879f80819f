"""Leading a rollout that has begun: looks, ends, and taking over from an owner that was lost.

The order of every change is: write the intent, set the router, read it back, confirm. A crash at any point leaves an
entry that says what has to be true of the router, and the next look, or the reconciler, makes it so.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from airflow_ml.core.canary import CONCLUDED, PROMOTED, ROLLED_BACK
from airflow_ml.core.failpoint import fp
from airflow_ml.core.ports import ArtifactStore, MetricSource, Reading, Router
from airflow_ml.core.rollout_change import confirmed, ended, ending, looked
from airflow_ml.core.rollout_decision import (
    ADVANCE,
    ASK,
    CONCLUDE,
    DROP,
    HOLD,
    INCONCLUSIVE,
    PAUSE,
    PROMOTE,
    ROLL_BACK,
    Decision,
    blind_look,
    decide,
)
from airflow_ml.core.rollout_human import closed, promoted_by_hand
from airflow_ml.core.rollout_look import Act, Look
from airflow_ml.core.rollout_readings import merged, without_samples
from airflow_ml.core.rollout_state import BY_EVIDENCE, BY_INTERRUPTION, CONFLICT, PARKED, SERVING_ENDS, RolloutState
from airflow_ml.core.served_name import served_name
from airflow_ml.errors import FencedOut, MetricUnreadable, RefConflict, RegistryUnavailable, RouterFailed
from airflow_ml.runtime.rollout_evidence import rollout_ref
from airflow_ml.runtime.rollout_history import At, RolloutHistory
from airflow_ml.runtime.rollout_traffic import apply, same_division, traffic_of

#: Lost races for an entry before giving up; each one means that somebody else made progress.
_RACES = 20
_OUTCOME = {
    PROMOTE: PROMOTED,
    CONCLUDE: CONCLUDED,
    ROLL_BACK: ROLLED_BACK,
    INCONCLUSIVE: INCONCLUSIVE,
    ASK: PARKED,
}


class RolloutLead:
    """See `airflow_ml.runtime.rollout.RolloutDriver`."""

    def __init__(
        self,
        store: ArtifactStore,
        router: Router,
        metrics: MetricSource,
        *,
        clock: Callable[[], datetime],
        lease_seconds: float = 180.0,
        router_seconds: float = 300.0,
        champion_of: Callable[[], str | None] | None = None,
        router_name: str = "",
    ) -> None:
        self._history = RolloutHistory(store)
        self._router = router
        self._metrics = metrics
        self._clock = clock
        self._lease_seconds = lease_seconds
        self._router_seconds = router_seconds
        self._champion_of = champion_of
        self._router_name = router_name

    def latest(self, model: str, namespace: str) -> RolloutState | None:
        """Return the newest record of a model's rollouts, live or ended; None where there never was one."""
        at = self._history.latest(model, namespace)
        return at.state if at else None

    def look(self, state: RolloutState) -> RolloutState:
        """Take one look: renew the lease, read, decide, act. Returns the newest record.

        A metric or router out of reach is not an error here: it is written down and, if it lasts, ends the rollout.

        Raises:
            FencedOut: another attempt took over, or another rollout began.
            RefConflict: lost too many races for an entry; look again.
        """
        for _ in range(_RACES):
            try:
                return self._look(self._history.current(state))
            except RefConflict:
                continue  # somebody else wrote an entry: read it and go on from there
        raise _too_many(state)

    def roll_back(self, state: RolloutState, reason: str, *, act: Act | None = None) -> RolloutState:
        """End a rollout at weight 0, whatever it is doing; one that ended is returned as it is.

        Args:
            state: Any record of it.
            reason: Why, for the record.
            act: The human who wants it.

        Raises:
            FencedOut: another rollout began.
            RouterFailed: the router cannot be set. The intent is recorded: the next look or the reconciler finishes it.
            RefConflict: lost too many races for an entry; try again.
        """
        for _ in range(_RACES):
            at = self._history.current(state, any_claim=True)
            try:
                if at.state.live:
                    end = self._end(at, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION, act=act)
                    if end.state != PARKED:
                        return end
                    continue  # it was about to park: now that it has, it ends
                if at.state.state != PARKED:
                    return at.state
                after = closed(at.state, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION, act=act)
                return self._history.append(at, after).state
            except RefConflict:
                continue
        raise _too_many(state)

    def reconcile(self, model: str, namespace: str) -> RolloutState | None:
        """Roll back a live rollout that nobody leads any more; returns the newest record.

        Raises:
            RouterFailed: the router cannot be set; reconcile again.
        """
        at = self._history.latest(model, namespace)
        if at is None or not at.state.live or not at.state.expired(self._clock()):
            return at.state if at else None
        return self.roll_back(at.state, lost(at.state))

    def reassert(self, model: str, namespace: str) -> bool:
        """Set a router right that does otherwise than the end of a rollout says; returns whether that was needed.

        It may have been restored from an older copy. One with a higher epoch follows somebody else and is left alone,
        as is one that does not know the model.

        Raises:
            RouterFailed: the router cannot be read or set.
        """
        at = self._history.latest(model, namespace)
        if at is None or at.state.live:
            return False
        wanted, seen = traffic_of(at.state, expires_at=self._clock()), self._router.read(served_name(model, namespace))
        if wanted is None or seen is None or seen.epoch > wanted.epoch or same_division(seen, wanted):
            return False
        try:
            self._apply(at.state)
        except FencedOut:
            return False  # the next rollout began meanwhile
        return True

    def _look(self, at: At) -> RolloutState:
        state, now = at.state, self._clock()
        if not state.live:
            return state
        try:
            if state.expired(now):
                return self._end(at, ROLLED_BACK, reason=lost(state), cause=BY_INTERRUPTION)
            if state.pending:
                return self._end(at, state.pending, reason=state.reason, cause=state.cause)
            if not state.confirmed:
                return self._set(at, healthy=True)  # a crash came between intent and confirmation
            return self._act(at, self._decide(state, now))
        except RouterFailed as error:
            return self._router_trouble(self._history.current(state), error)
        except FencedOut as error:
            return self._fenced_out(self._history.current(state), error)

    def _decide(self, state: RolloutState, now: datetime) -> Decision:
        reading: Reading | None = None
        guardrails: dict[str, Reading] = {}
        problem = ""
        try:
            reading, guardrails = self._read(state)
        except (MetricUnreadable, OSError) as error:
            problem = f"The metric cannot be read: {error}"
        decision = promoted_by_hand(
            state, decide(state.plan, state, reading, now, guardrails=guardrails, unreadable=problem)
        )
        if decision.action == PROMOTE and self._champion_of is not None:
            return self._checked(state, decision, now, self._champion_of)
        return decision

    def _read(self, state: RolloutState) -> tuple[Reading, dict[str, Reading]]:
        """Read the metric and each guardrail's, as the plan's design asks. Without a dry run a look is whole.

        Raises:
            MetricUnreadable, OSError: one of the others cannot be read.
        """
        first, *more = state.plan.reads
        found = {}
        for name in more:
            try:
                found[name] = self._read_one(state, name)
            except (MetricUnreadable, OSError):
                if name not in state.plan.dry_reads:
                    raise
        return self._read_one(state, first), found

    def _read_one(self, state: RolloutState, metric: str) -> Reading:
        name = served_name(state.model, state.namespace)
        found = [(epoch, self._metrics.read(name, metric=metric, epoch=epoch)) for epoch in state.metric_epochs]
        # Of the champion against itself only how far outcomes are known counts later.
        return merged([(epoch, one if epoch > state.same_epoch else without_samples(one)) for epoch, one in found])

    def _checked(
        self, state: RolloutState, decision: Decision, now: datetime, champion_of: Callable[[], str | None]
    ) -> Decision:
        """Let a promotion pass only over the champion that the rollout compared with."""
        baseline = str((state.champion or {}).get("version", ""))
        try:
            version = champion_of()
        except RegistryUnavailable as error:
            return decide(state.plan, state, None, now, unreadable=f"The registry does not answer: {error}")
        if version == baseline:
            return decision
        reason = f"The alias champion was moved from version {baseline} to {version} meanwhile"
        return replace(
            decision,
            action=CONFLICT,
            reason=reason,
            statistics=replace(decision.statistics, action=CONFLICT, reason=reason),
        )

    def _act(self, at: At, decision: Decision) -> RolloutState:
        state, look, now = at.state, decision.statistics, self._clock()
        if state.expired(now):  # frozen while it read: by now others may hold the rollout for lost
            return self._end(at, ROLLED_BACK, reason=lost(state), cause=BY_INTERRUPTION)
        if decision.action not in (HOLD, PAUSE, ADVANCE, DROP):
            outcome = _OUTCOME.get(decision.action, decision.action)
            cause = BY_INTERRUPTION if decision.trouble or outcome == CONFLICT else BY_EVIDENCE
            return self._end(at, outcome, reason=decision.reason, cause=cause, look=look, chosen=decision.chosen)
        after = looked(
            state,
            look,
            next_step=decision.action == ADVANCE,
            now=now,
            lease_seconds=self._lease_seconds,
            # Until the router took this look's write too, an earlier trouble is not over.
            trouble=decision.trouble or state.trouble_since_at is not None,
            pause=decision.action == PAUSE,
            tally=decision.tally,
            stopped=decision.stopped,
            chosen=decision.chosen,
        )
        at = self._history.append(at, self._history.with_evidence(at, after) if after.step != state.step else after)
        fp("rollout.after_intent")
        return self._set(at, healthy=not decision.trouble)

    def _set(self, at: At, *, healthy: bool) -> RolloutState:
        """Make the router what a live record says, and confirm what is new about that."""
        if not at.state.expired(self._clock()):
            self._apply(at.state)
            fp("rollout.after_router")
        now = self._clock()
        if at.state.expired(now):  # frozen on the way; a lease that ran out is nobody's to renew
            return self._end(at, ROLLED_BACK, reason=lost(at.state), cause=BY_INTERRUPTION)
        if at.state.confirmed and not (healthy and at.state.trouble_since_at):
            return at.state
        lease_expires_at = now + timedelta(seconds=self._lease_seconds)
        return self._history.append(at, replace(confirmed(at.state), lease_expires_at=lease_expires_at)).state

    def _router_trouble(self, at: At, error: RouterFailed) -> RolloutState:
        """Write down that the router is out of reach; an end under way stays under way."""
        state, now = at.state, self._clock()
        if not state.live or state.pending:
            return state
        if state.expired(now):
            end = ending(state, ROLLED_BACK, reason=lost(state), cause=BY_INTERRUPTION)
            return self._history.append(at, end).state  # the next look carries it out
        lasting = (now - (state.trouble_since_at or now)).total_seconds()
        problem = f"The router cannot be set: {error}"
        if lasting >= state.plan.max_trouble_seconds:
            reason = f"{problem}, for {lasting:.0f} s"
            return self._history.append(at, ending(state, ROLLED_BACK, reason=reason, cause=BY_INTERRUPTION)).state
        look = blind_look(state, now, HOLD, problem)
        after = looked(state, look, next_step=False, now=now, lease_seconds=self._lease_seconds, trouble=True)
        return self._history.append(at, after).state

    def _fenced_out(self, at: At, error: FencedOut) -> RolloutState:
        """The router has a higher epoch: either our own end by another process, or somebody else's traffic."""
        if not at.state.live or at.state.pending not in (None, PROMOTED):
            return at.state
        return self._end(at, CONFLICT, reason=f"The router was taken over: {error}", cause=BY_INTERRUPTION)

    def _end(
        self,
        at: At,
        outcome: str,
        *,
        reason: str,
        cause: str,
        look: Look | None = None,
        act: Act | None = None,
        chosen: str = "",
    ) -> RolloutState:
        """Intent, router, read back, end. Goes on where an earlier attempt stopped; an intent to stop is kept."""
        if at.state.pending is None or (at.state.pending == PROMOTED != outcome):
            intent = ending(at.state, outcome, reason=reason, cause=cause, look=look, act=act, chosen=chosen)
            at = self._history.append(at, intent)
            fp("rollout.after_end_intent")
        try:
            self._apply(at.state)
        except FencedOut:
            if at.state.pending in SERVING_ENDS:
                raise
            # The router follows somebody else by now, so nothing of this rollout is in effect: weight 0 is true.
        fp("rollout.after_end_router")
        return self._history.append(at, self._history.with_evidence(at, ended(at.state))).state

    def _apply(self, state: RolloutState) -> None:
        apply(self._router, state, expires_at=self._clock() + timedelta(seconds=self._router_seconds))


def lost(state: RolloutState) -> str:
    """Return the reason of a rollout whose lease ran out."""
    return f"Its owner {state.owner} was lost: no look before the lease ran out"


def _too_many(state: RolloutState) -> RefConflict:
    return RefConflict(
        "Too many writers of one rollout",
        rollout_ref(state.model, state.namespace),
        "Look at who leads it, and try again.",
    )

"""What a human does with a rollout, without Airflow: ``hold``, ``resume``, ``promote``, ``rollback``, ``reconcile``."""

from __future__ import annotations

import argparse
import getpass
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from airflow_ml.cli.output import print_rows
from airflow_ml.cli.place import open_place
from airflow_ml.errors import ConfigurationError, RouterFailed
from airflow_ml.runtime.rollout_acts import RolloutActs
from airflow_ml.runtime.rollout_history import RolloutHistory
from airflow_ml.runtime.rollout_reconcile import FAILED, reconcile_all

if TYPE_CHECKING:
    from airflow_ml.core.ports import ArtifactStore
    from airflow_ml.core.rollout_state import RolloutState
    from airflow_ml.runtime.rollout import RolloutDriver

#: Airflow's type of a gateway's connection; another router's password is for nobody else.
_CONNECTION_TYPE = "airflow_ml_gateway"
ROUTER_URL, ROUTER_TOKEN = "AIRFLOW_ML_ROUTER_URL", "AIRFLOW_ML_ROUTER_TOKEN"


def hold(options: argparse.Namespace) -> int:
    """Keep a rollout at its step until it is resumed."""
    return _act(options, _acts(open_place(options)).hold)


def resume(options: argparse.Namespace) -> int:
    """Let a held rollout go on."""
    return _act(options, _acts(open_place(options)).resume)


def promote(options: argparse.Namespace) -> int:
    """Let whoever leads a rollout promote its challenger at the next look."""
    acts = _acts(open_place(options))
    return _act(options, lambda *model, **said: acts.promote(*model, arm=options.arm, **said))


def rollback(options: argparse.Namespace) -> int:
    """Stop a rollout: at once where the router is known, else at its next look."""
    store = open_place(options)
    code = _act(options, _acts(store).stop)
    at = RolloutHistory(store).latest(options.model, options.namespace)
    if at is None or not at.state.live:
        return code
    if not _address(options, at.state):
        print(
            f"Written down. Traffic moves at the next look of {at.state.owner}; to move it now, name the router with "
            f"--router or the environment variable {ROUTER_URL}."
        )
        return code
    ended = _driver(options, store, at.state).roll_back(at.state, at.state.reason)
    print_rows(options, [_row(ended)])
    return code


def reconcile(options: argparse.Namespace) -> int:
    """End every rollout whose lease has expired, and set right a router that an ended one left split.

    Raises:
        RouterFailed: a lost rollout could not be ended.
    """
    store = open_place(options)
    seen, found = reconcile_all(
        store, options.namespace, lambda state: _driver(options, store, state), now=datetime.now(UTC)
    )
    print_rows(options, [one.to_dict() for one in found])
    failed = [f"{one.model}: {one.reason}" for one in found if one.action == FAILED]
    if failed:
        raise RouterFailed(f"{len(failed)} of {seen} rollouts could not be ended", "; ".join(failed), "Try again.")
    return 0


def _act(options: argparse.Namespace, act: Callable[..., RolloutState]) -> int:
    state = act(options.model, options.namespace, who=options.who or getpass.getuser(), why=options.why)
    print_rows(options, [_row(state)])
    return 0


def _acts(store: ArtifactStore) -> RolloutActs:
    return RolloutActs(store, clock=lambda: datetime.now(UTC))


def _row(state: RolloutState) -> dict[str, object]:
    return {
        "model": state.model,
        "namespace": state.namespace,
        "epoch": state.epoch,
        "state": _said_of(state),
        "weight_percent": state.weight_percent,
        "reason": state.acts[-1].why if state.promote_arm and state.live else state.held or state.reason,
    }


def _said_of(state: RolloutState) -> str:
    if state.pending:
        return f"{state.state}, ending"
    if state.promote_arm and state.live:
        return "to be promoted at the next look"
    return "held" if state.held else state.state


def _driver(options: argparse.Namespace, store: ArtifactStore, state: RolloutState) -> RolloutDriver:
    from airflow_ml.adapters.gateway import GatewayMetrics, GatewayRouter
    from airflow_ml.runtime.rollout import RolloutDriver

    address = _address(options, state)
    if address is None:
        raise ConfigurationError(
            f"The router of {state.model!r} is not known here",
            f"its Airflow connection is {state.router_name or 'not named'}",
            f"Give --router, or set {ROUTER_URL} or AIRFLOW_CONN_{(state.router_name or 'gateway_default').upper()}.",
        )
    url, token = address
    return RolloutDriver(
        store,
        GatewayRouter(url, token=token),
        GatewayMetrics(url, token=token),
        clock=lambda: datetime.now(UTC),
        router_name=state.router_name,
    )


def _address(options: argparse.Namespace, state: RolloutState) -> tuple[str, str] | None:
    """Return URL and control token of the gateway that leads a rollout's traffic; None where nothing names it."""
    token = os.environ.get(ROUTER_TOKEN, "")
    if options.router:
        return str(options.router).rstrip("/"), token
    connection = os.environ.get(f"AIRFLOW_CONN_{state.router_name.upper()}", "") if state.router_name else ""
    if connection.startswith("{"):
        facts = json.loads(connection)
        if facts.get("conn_type", _CONNECTION_TYPE) != _CONNECTION_TYPE:
            return None
        host = str(facts.get("host") or "127.0.0.1").rstrip("/")
        host = host if "://" in host else f"{facts.get('schema') or 'http'}://{host}"
        port = f":{facts['port']}" if facts.get("port") and ":" not in host.partition("://")[2] else ""
        return f"{host}{port}", str(facts.get("password") or token)
    if connection:
        parts = urlsplit(connection)
        if parts.scheme.replace("-", "_") != _CONNECTION_TYPE:
            return None
        scheme = "https" if parts.path.strip("/") == "https" else "http"
        return f"{scheme}://{parts.hostname}:{parts.port or 8000}", unquote(parts.password or "") or token
    return None

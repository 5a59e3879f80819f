"""What the routes share: the place that they read from."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from airflow_ml.plugin.place import Place


def _place(request: Request) -> Place:
    found: Place = request.app.state.place
    return found


PlaceDep = Annotated[Place, Depends(_place)]

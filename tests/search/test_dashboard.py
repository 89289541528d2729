"""optuna-dashboard opens the file of a sweep's studies while the sweep holds it."""

from __future__ import annotations

import json
import threading
import urllib.request
from wsgiref.simple_server import WSGIRequestHandler, make_server

import pytest
from sweeping import SMALL, composed

from harness.search.optuna_studies.storage import open_storage, study_name
from harness.search.optuna_studies.study import MethodStudy


class Quiet(WSGIRequestHandler):
    def log_message(self, *args: object) -> None: ...


def test_the_dashboard_lists_the_study_of_a_running_sweep(tmp_path):
    dashboard = pytest.importorskip("optuna_dashboard")
    import optuna

    sweep, plans = composed(*SMALL, "method=lora")
    held = MethodStudy(plans["lora"], sweep, open_storage(sweep, tmp_path))  # as the driver does
    app = dashboard.wsgi(optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'study.db'}"))
    server = make_server("127.0.0.1", 0, app, handler_class=Quiet)
    threading.Thread(target=server.serve_forever, args=[0.01], daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_port}/api/studies"
        with urllib.request.urlopen(address, timeout=10) as answer:
            listed = json.load(answer)["study_summaries"]
    finally:
        server.shutdown()
        server.server_close()
    (study,) = listed
    assert study["study_name"] == study_name(sweep, "lora") and held is not None
    assert study["directions"] == list(sweep.objectives.values())

"""Fixtures of tests that open many studies: none waits for the disk or reads the migrations again."""

from __future__ import annotations

import os
import sqlite3

import pytest
import sqlalchemy


@pytest.fixture(scope="module", autouse=True)
def no_sync():
    """These tests kill objects, not machines: waiting for the disk would be half of their time."""

    def relax(connection, record):
        if isinstance(connection, sqlite3.Connection):
            connection.execute("pragma synchronous=off")

    sqlalchemy.event.listen(sqlalchemy.Engine, "connect", relax)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda file: None)
        yield
    sqlalchemy.event.remove(sqlalchemy.Engine, "connect", relax)


@pytest.fixture(scope="session", autouse=True)
def migrations_read_once():
    """Optuna reads its migrations, a module each, whenever a study is opened."""
    from alembic.script import ScriptDirectory

    read = ScriptDirectory.from_config
    known = {}

    def once(config):
        place = config.get_main_option("script_location")
        if place not in known:
            known[place] = read(config)
        return known[place]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", once)
        yield

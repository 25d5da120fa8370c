"""The recipes of docs/clients/python.md for Django and Celery."""

from __future__ import annotations

import threading
from functools import cache
from typing import Any

import pytest
import redis

from redislock_client import Locks, NotAcquired
from servers import Operator, Server, until

django = pytest.importorskip("django")
celery = pytest.importorskip("celery")
pytestmark = pytest.mark.slow


def test_django(server: Server, operator: Operator, key: str) -> None:
    from django.conf import settings

    settings.configure(
        LOCK_URL=server.url,
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
        INSTALLED_APPS=[],
        ROOT_URLCONF=__name__,
        ALLOWED_HOSTS=["*"],
    )
    django.setup()
    from django.db import connection, models
    from django.http import HttpRequest, HttpResponse
    from django.test import RequestFactory

    class Order(models.Model):
        state = models.CharField(max_length=20)
        fence = models.BigIntegerField(default=0)

        class Meta:
            app_label = "recipe"

    @cache
    def locks() -> Locks:
        return Locks(redis.Redis.from_url(settings.LOCK_URL), label="shop")

    def ship(request: HttpRequest, number: int) -> HttpResponse:
        try:
            with locks().lock(f"{key}:{number}", lease=10, timeout=0.2) as hold:
                # The row compares fences: a late write changes nothing.
                done = Order.objects.filter(pk=number, fence__lt=hold.fence).update(
                    state="shipped", fence=hold.fence
                )
        except NotAcquired:
            return HttpResponse("somebody else works on it", status=409)
        return HttpResponse("shipped" if done else "stale")

    with connection.schema_editor() as editor:
        editor.create_model(Order)
    Order.objects.create(pk=1, state="new")
    request = RequestFactory().post("/")
    assert ship(request, 1).content == b"shipped"
    assert Order.objects.get(pk=1).fence > 0
    Order.objects.filter(pk=1).update(fence=2**53)
    assert ship(request, 1).content == b"stale"
    operator.take(f"{key}:1")
    assert ship(request, 1).status_code == 409
    operator.release(f"{key}:1")
    locks().close()


def test_celery(server: Server, operator: Operator, key: str) -> None:
    app = celery.Celery("recipe", broker="memory://", backend="cache+memory://")
    runs: list[Any] = []
    ready, go = threading.Event(), threading.Event()

    @cache
    def locks() -> Locks:
        return Locks(redis.Redis.from_url(server.url), label="tasks")

    @app.task(bind=True, max_retries=None)
    def rebuild(self: Any, shop: str) -> None:
        try:
            with locks().lock(f"{key}:{shop}", lease=30, timeout=0) as hold:
                ready.set()
                assert go.wait(60)
                runs.append(hold.fence)
        except NotAcquired:
            raise self.retry(countdown=0.2) from None

    @app.task
    def nightly() -> None:
        with locks().once(f"{key}:nightly", 3600).attempt() as hold:
            if hold is not None:
                runs.append("nightly")

    from celery.contrib.testing.worker import start_worker

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False):
        first = rebuild.delay("a")
        assert ready.wait(60)
        second = rebuild.delay("a")
        until(lambda: second.state == "RETRY")
        go.set()
        first.get(timeout=60)
        second.get(timeout=60)
        assert len(runs) == 2 and runs[0] < runs[1]
        for _ in range(3):
            nightly.delay().get(timeout=60)
        assert runs[2:] == ["nightly"]
    locks().close()

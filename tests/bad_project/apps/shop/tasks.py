"""None of them but one has a time limit."""

import logging

import requests
from bad.celery import app
from celery import shared_task
from django.core.exceptions import ValidationError
from django.db.models import F

from taskyard import RetryPolicy, task

from .models import Order

logger = logging.getLogger(__name__)
EAGERLY = RetryPolicy(max_retries=5)


@task(retry=RetryPolicy(on=(ValueError, ConnectionError)))
def price(order_id):  # bad: W005
    return Order.objects.get(pk=order_id).pk


@task(retry=EAGERLY, name="shop.bill")
def bill(order_id):  # bad: W005
    return order_id


@shared_task(autoretry_for=(Exception,), max_retries=3)
def ship(order_id):  # bad: W005
    return order_id


@app.task(bind=True, serializer="pickle")
def pack(self, order_id):  # bad: W003
    try:
        Order.objects.get(pk=order_id).full_clean()
    except ValidationError as error:  # bad: W005
        raise self.retry(exc=error)


@task
def greet(order: Order):  # bad: W010
    return order.pk


@task
def thank(order: "list[Order] | None" = None):  # bad: W010
    return order


@shared_task(time_limit=600)
def notify(order_id):
    """Tell the customer."""
    order = Order.objects.get(pk=order_id)
    try:
        requests.post("https://example.com", json={"order": order.pk}, timeout=5)
    except Exception:  # bad: W011
        logger.exception("could not notify")


@shared_task
def remind(order_id):
    with requests.Session() as session:
        try:
            session.get("https://example.com")
        except:  # bad: W011
            pass


@task
def count_try(order_id):
    Order.objects.filter(pk=order_id).update(tries=F("tries") + 1)  # bad: W014


@task(queue="mial")
def nightly():  # bad: W019
    order = Order.objects.first()
    order.tries += 1  # bad: W014
    order.save()

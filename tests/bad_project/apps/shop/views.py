"""How not to enqueue."""

from django.contrib import admin
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.db.models.signals import post_save
from django.dispatch import receiver
from django.http import HttpResponse
from django.shortcuts import get_object_or_404
from django.views import View
from django.views.decorators.http import require_POST

from . import tasks
from .models import Order
from .tasks import bill, notify, price, ship


@transaction.atomic
def order(request):
    made = Order.objects.create()
    notify.delay(made.pk)  # bad: W006
    return HttpResponse()


def checkout(request):
    with transaction.atomic():
        made = Order.objects.create()
        tasks.ship.apply_async(args=[made.pk], countdown=5)  # bad: W006
        # This is how it should be.
        transaction.on_commit(lambda: tasks.ship.delay(made.pk))
    return HttpResponse()


@login_required
@require_POST
def recompute(request, order_id):
    price.enqueue(order_id)  # bad: W012
    return HttpResponse()


class Bill(View):
    def post(self, request, pk):
        row = get_object_or_404(Order, pk=pk)
        bill.using(priority=10).enqueue(row.pk)  # bad: W012
        return HttpResponse()


@admin.action(description="Ship")
def ship_all(modeladmin, request, queryset):
    for row in queryset:
        ship.delay(row.id)  # bad: W012


def start(request):
    row = Order.objects.get(pk=1)
    row.task_id = ship.delay(row.pk).id  # bad: W013
    row.save()
    result = notify.apply_async((row.pk,))
    Order.objects.filter(pk=row.pk).update(task_id=result.id)  # bad: W013
    return HttpResponse()


def congratulate(request):
    row = Order.objects.get(pk=1)
    tasks.greet.delay(row)  # bad: W010
    tasks.thank.delay(order=request.user)  # bad: W010
    return HttpResponse()


@receiver(post_save, sender=Order)
def saved(sender, instance, **kwargs):
    tasks.greet.delay(instance)  # bad: W010


def elsewhere():
    from apps.shop.tasks import nightly

    return nightly

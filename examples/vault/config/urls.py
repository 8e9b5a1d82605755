"""What of it is served over HTTP."""

from customers.views import onboard, start
from django.urls import path

urlpatterns = [
    path("<org>/customers", onboard),
    path("<org>/sagas/<name>", start),
]

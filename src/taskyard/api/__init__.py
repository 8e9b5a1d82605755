"""The HTTP API, ``/api/v1/``: reads and changes things through :mod:`taskyard.operations` alone.

Routes are declared beside their handlers (:mod:`taskyard.api.resources`) with the shapes of what they take and answer;
the OpenAPI document and the checking of requests are both made of those.
"""

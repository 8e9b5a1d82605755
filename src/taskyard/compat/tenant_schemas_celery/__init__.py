"""What tenant-schemas-celery offers, on Taskyard's engine: change the imports, and move over worker by worker.

Needs ``TASKYARD["TENANCY"] = "schemas"``. With ``TASKYARD["SCHEMA_HEADER"] = True`` messages say the tenant as that
package does, so that workers that still use it may run them (queues named in ``TASKYARD["HANDOVER"]``).
"""

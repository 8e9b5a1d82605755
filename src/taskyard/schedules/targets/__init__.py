"""Where schedules of the code are carried to; what each keeps to is in ``schedules/target.py``."""

from housekeeping.command import TaskCommand
from housekeeping.tasks import send_periodic_emails


class Command(TaskCommand):
    help = "Sends the e-mails that packages have registered."
    task = send_periodic_emails

"""Questions to begin with, about what the sample sources say."""

QUESTIONNAIRES = {
    "Before we choose a job queue": [
        "What happens to a job when its worker is killed?",
        "Does enqueuing a job talk to the broker?",
        "How is a failed job tried again, and how long does it wait?",
        "What keeps two schedulers from running a schedule twice?",
        "How do I cancel a running job?",
        "What is a batch, and when does the next stage start?",
        "How are two clicks kept from starting two jobs?",
        "Which databases are supported?",
        "How does a tenant get its fair share?",
        "Xyzzy plugh frobozz?",
        "What does the doctor command look at?",
        "How is progress written without slowing the task down?",
        "What is done about a time that clocks skip or repeat?",
        "How long are jobs kept?",
        "Can the order of queues be told, and can one be paused?",
        "What must be done for SQLite?",
        "How are secrets kept out of the settings?",
        "How do I test that a task may run twice?",
        "What is a soft time limit?",
        "How does a probe notice that a worker stands still?",
        "What happens when Redis or RabbitMQ is away?",
        "How do jobs of a tenant with its own database get to the control database?",
        "How do I move from django-celery-beat?",
        "What does the outbox relay do?",
    ],
    "Two quick ones": [
        "How does a tenant get its fair share?",
        "What does the outbox relay do?",
    ],
}

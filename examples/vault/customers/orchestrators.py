"""What takes more than one place to do; workers find this module by its name."""

import csv
from datetime import timedelta
from typing import Any

from documents.models import Document, Entry

from customers import billing, files
from customers.models import Customer
from taskyard import RetryPolicy
from taskyard.sagas import Context, Orchestrator, orchestrator, signal, step


@orchestrator("onboarding", tenant_from="org", errors={billing.CardDeclined: 402}, sensitive=("card",))
class Onboarding(Orchestrator):
    """A customer: a row in the organisation's database, a folder in the file store, an account at the service."""

    @step
    def write_row(self, context: Context, name: str, plan: str) -> int:
        said = {"name": name, "plan": plan}
        return Customer.objects.get_or_create(key=context.idempotency_key, defaults=said)[0].pk

    @write_row.rollback
    def delete_row(self, context: Context, result: int) -> None:
        Customer.objects.filter(pk=result).delete()

    @step
    def make_folder(self, context: Context, name: str) -> str:
        files.make(str(context.saga_id), f"Welcome, {name}!")
        return str(context.saga_id)

    @make_folder.rollback
    def remove_folder(self, context: Context, result: str) -> None:
        files.remove(result)

    @step(retry=RetryPolicy(on=(billing.BillingDown,), max_retries=3, backoff=timedelta(seconds=1)))
    def open_account(self, context: Context, name: str) -> str:
        return billing.open_account(name, key=context.idempotency_key)

    @open_account.rollback
    def close_account(self, context: Context, result: str) -> None:
        billing.close_account(result, key=context.idempotency_key)

    #: A large plan is looked at by a person: `manage.py shell`, a page, a mail with a link.
    approval = signal(timeout=timedelta(days=7), when=lambda context: context.inputs["plan"] == "large")

    @step
    def charge(self, context: Context, open_account: str, card: str) -> None:
        billing.charge(open_account, card, key=context.idempotency_key)

    @step
    def welcome(self, context: Context, write_row: int, open_account: str, approval: Any) -> dict[str, Any]:
        Customer.objects.filter(pk=write_row).update(active=True)
        by = approval["by"] if approval else context.user.email
        Entry.objects.create(text=f"customer {write_row} taken in", member=by, organisation=context.tenant)
        return {"customer": write_row, "account": open_account}


@orchestrator("word-report", tenant_from="org")
class WordReport(Orchestrator):
    """How often each word stands in an organisation's documents."""

    @step
    def export(self, context: Context) -> str:
        place = files.folder_of(f"report-{context.saga_id}")
        place.mkdir(parents=True, exist_ok=True)
        with (place / "words.csv").open("w", newline="") as out:
            texts = Document.objects.values_list("words", flat=True)
            csv.writer(out).writerows([["word"], *([word] for text in texts.iterator() for word in text.split())])
        return place.name

    @export.rollback
    def remove(self, context: Context, result: str) -> None:
        files.remove(result)

    # taskyard: allow W019 — a worker of its own takes it (-Q duckdb), and the others take what QUEUES would list
    @step(queue="duckdb", time_limit=timedelta(minutes=30))
    def count(self, context: Context, export: str, top: int = 3) -> list[list[Any]]:
        # The workers of that queue alone have it, and the memory for it.
        import duckdb

        place = files.folder_of(export)
        with duckdb.connect() as database:
            database.execute(
                "CREATE TABLE words AS SELECT word FROM read_csv(?, header = true)", [str(place / "words.csv")]
            )
            counted = "SELECT word, count(*) AS times FROM words GROUP BY word ORDER BY times DESC, word"
            database.execute(f"CREATE TABLE counted AS {counted}")
            database.table("counted").write_parquet(str(place / "words.parquet"))
            return [list(row) for row in database.execute(f"{counted} LIMIT ?", [top]).fetchall()]

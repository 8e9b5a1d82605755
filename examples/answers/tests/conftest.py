"""The project as a test meets it: a feed that a test writes itself, a user, rows to begin with."""

import getpass
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from answers.management.commands.set_up import make_system_user
from answers.models import Questionnaire
from django.contrib.auth.models import User
from django.core.cache import caches
from django.db import connection
from django.test import Client
from documents.models import Document, Source
from documents.tasks import embed


@pytest.fixture(scope="session")
def django_db_modify_db_settings(tmp_path_factory: pytest.TempPathFactory) -> None:
    if connection.vendor == "sqlite":
        # A file: a running job reports on a connection of its own.
        connection.settings_dict["TEST"]["NAME"] = str(tmp_path_factory.mktemp("database") / "test.sqlite3")


@pytest.fixture(autouse=True)
def at_once(settings: Any) -> None:
    """Nobody waits for a model."""
    settings.SECONDS_PER_ANSWER = 0.0


@pytest.fixture
def system(db: None) -> User:
    """Whose the runs of schedules are."""
    make_system_user()
    return User.objects.get()


@pytest.fixture
def ada(system: User, client: Client) -> User:
    """Logged in."""
    user = User.objects.create_superuser("ada")
    client.force_login(user)
    return user


class Feed(dict[str, Any]):
    """Path -> what it says: documents as ``{key: text}``, or a number, which is a status. Its address is ``url``."""

    url = ""
    #: Called with the path before each answer.
    before: Callable[[str], object] = staticmethod(lambda path: None)

    def source(self, name: str, said: Any) -> Source:
        self[f"/{name}/"] = said
        return Source.objects.create(name=name, url=f"{self.url}/{name}/")

    def dead(self, name: str) -> Source:
        # Nobody listens there.
        return Source.objects.create(name=name, url=f"http://127.0.0.1:9/{name}/")


@pytest.fixture
def feed() -> Iterator[Feed]:
    said = Feed()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = urlsplit(self.path).path
            said.before(path)
            page = said.get(path, 404)
            is_status = isinstance(page, int)
            self.send_response(page if is_status else 200)
            self.end_headers()
            if not is_status:
                documents = [{"key": key, "title": key, "text": text} for key, text in page.items()]
                self.wfile.write(json.dumps({"documents": documents, "total": len(page), "next": None}).encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: the output is of the tests."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    said.url = f"http://127.0.0.1:{server.server_port}"
    yield said
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def memcached(settings: Any) -> Iterator[None]:
    """Django's cache is one of this test's own."""
    program = shutil.which("memcached")
    if program is None:
        pytest.skip("no memcached on this machine: apt-get install memcached")
    # Not pytest's folder: the path of a socket is short.
    with TemporaryDirectory(prefix="memcached-") as folder:
        socket = Path(folder) / "socket"
        process = subprocess.Popen([program, "-s", str(socket), "-u", getpass.getuser()])
        try:
            while not socket.exists() and process.poll() is None:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(0.02)
            backend = "django.core.cache.backends.memcached.PyMemcacheCache"
            settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": f"unix:{socket}"}}
            yield
            caches["default"].close()
        finally:
            process.terminate()
            process.wait(10)


@pytest.fixture
def documents(db: None, settings: Any) -> list[Document]:
    """Three, embedded."""
    settings.EMBED_NEW_DOCUMENTS = False
    texts = {
        "Whales": "Whales are mammals. They breathe air and nurse their calves with milk.",
        "Bridges": "A suspension bridge hangs from cables.\n\nArches press against their ends.",
        "Bread": "Bread rises because yeast makes gas. Salt slows the yeast down.",
    }
    made = [Document.objects.create(title=title, text=text) for title, text in texts.items()]
    for document in made:
        embed(document)
    settings.EMBED_NEW_DOCUMENTS = True
    return made


@pytest.fixture
def questionnaire(documents: list[Document]) -> Questionnaire:
    """Two questions that something is said about, and between them one that nothing is."""
    made = Questionnaire.objects.create(title="Three questions")
    for number, text in enumerate(("Are whales mammals?", "Xyzzy frobozz?", "Why does bread rise with yeast?"), 1):
        made.questions.create(number=number, text=text)
    return made

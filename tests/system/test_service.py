"""pixstored as a service: what systemd/pixstored.service promises, on a real systemd."""

from __future__ import annotations

import socketserver
import threading
import urllib.request
from pathlib import Path

import pytest

from support.app import eventually
from support.faults import Hang
from support.faulty_store import FaultyStore
from support.files import jpeg
from support.rawserver import CERTIFICATE, Heard, RawServer, store_all
from system.service import CONFIG, KEY_FILE, PHOTOS, QUICK, Service

CANARY = "canary-key-never-shown"

AT_ONCE = "RestartSec=100ms"
"""Instead of the unit's back-off, which a test need not wait for."""

EXPOSURE = 15
"""Ten times what `systemd-analyze security` says: none of the hardening may get lost."""


def put_photo(service: Service, name: str, seed: int, size: int = 20_000) -> bytes:
    """A photo as root or an FTP server would put it there: another user's, readable by all."""
    picture = jpeg(size, seed=seed)
    service.machine.put(f"{PHOTOS}/{name}", picture)
    return picture


# --- the unit


def test_systemd_finds_nothing_wrong_with_the_unit(service: Service) -> None:
    assert service.machine.ok("systemd-analyze verify pixstored.service") == ""


def test_the_unit_exposes_little(service: Service) -> None:
    service.machine.ok(f"systemd-analyze security --no-pager --threshold={EXPOSURE} pixstored.service")


# --- its life


def test_a_photo_is_published_and_everybody_who_may_ask_sees_its_link(service: Service) -> None:
    service.configure()
    service.start()
    assert service.status()["running"], "start returns when it is ready"
    picture = put_photo(service, "a.jpg", 1)
    service.wait_for(published=1)
    [link] = service.links()
    with service.machine.network(), urllib.request.urlopen(link["link"]) as answer:
        assert answer.read() == picture
    service.machine.ok("id friend || useradd --groups pixstored friend")
    for user in ("pixstored", "friend"):
        assert service.links(user) == [link]
        assert "nothing needs you" in service.command("status", user)


def test_links_are_shown_when_it_is_stopped_and_it_starts_again_after_root_has_looked(service: Service) -> None:
    service.configure()
    service.start()
    put_photo(service, "a.jpg", 1)
    service.wait_for(published=1)
    service.stop()
    assert service.show("Result") == "success"
    assert len(service.links()) == 1
    assert service.status()["running"] is False
    service.start()
    put_photo(service, "b.jpg", 2)
    service.wait_for(published=2)


def test_its_directories_are_its_own_and_closed_to_others(service: Service) -> None:
    service.configure()
    service.start()
    for folder in ("/var/lib/pixstored", "/run/pixstored"):
        assert service.machine.ok(f"stat -c '%U:%G %a' {folder}") == "pixstored:pixstored 750\n"
    others = service.machine.ok("find /var/lib/pixstored /run/pixstored -not -user pixstored -or -perm /o=rwx")
    assert others == ""


def test_systemctl_status_tells_how_it_is(service: Service) -> None:
    service.configure()
    service.start()
    assert "store unknown" in service.show("StatusText")
    eventually(
        lambda: service.machine.ok("systemctl status --no-pager pixstored"),
        lambda told: f'Status: "{service.show("StatusText")}"' in told,
    )
    put_photo(service, "a.jpg", 1)
    eventually(lambda: service.show("StatusText"), lambda words: "store ok" in words)


def test_journal_lines_have_priorities(service: Service) -> None:
    service.configure(f"url: embedded, key: {CANARY}")
    service.start()
    service.wait_for_line("running version=", "--priority=info")
    warnings = service.journal("--priority=warning")
    assert [line for line in warnings if "can be read by others" in line] == warnings
    service.machine.put(CONFIG, "nonsense: 1\n")
    service.machine.run("systemctl restart pixstored")
    service.wait_for_line("nonsense", "--priority=err")


def test_a_reload_counts_at_once_and_a_faulty_configuration_changes_nothing(service: Service) -> None:
    service.configure()
    service.start()
    pid = service.show("MainPID")
    service.machine.put("/srv/more/before.jpg", jpeg(seed=1))
    service.machine.ok("mkdir -p /home/anna/Pictures")
    service.configure(watch=f"{QUICK}}}, {{path: /srv/more, existing: publish}}, {{path: /home/anna/Pictures")
    service.machine.ok("systemctl reload pixstored")
    service.wait_for(published=1)
    service.wait_for_watch("/home/anna/Pictures", "error")
    assert "`pixstored service install`" in service.command("status"), "the unit does not show that home"
    service.machine.put(CONFIG, "wacth: []\n")
    assert service.machine.run("systemctl reload pixstored").code != 0
    service.wait_for_line("wacth", "--priority=err")
    assert service.show("ActiveState") == "active"
    assert service.show("MainPID") == pid


# --- its ends


def test_a_stop_that_waits_for_an_answer_ends_in_time_and_well(service: Service) -> None:
    never = threading.Event()
    store = FaultyStore()
    store.next(Hang(never, stored=True))
    with service.machine.network(), store:
        service.configure(f"url: '{store.url}', key: {CANARY}", top="stop_timeout: 1s")
        service.start()
        put_photo(service, "a.jpg", 1)
        store.wait_for(lambda seen: seen.stored.total() == 1)
        service.stop()
        assert service.show("Result") == "success"
        service.start()
        service.wait_for(uncertain=1)
    assert list(store.stored.values()) == [1]


def test_killed_in_the_middle_it_comes_back_and_nothing_is_sent_twice(service: Service) -> None:
    store = FaultyStore()
    with service.machine.network(), store:
        service.drop_in(AT_ONCE)
        service.configure(f"url: '{store.url}', key: {CANARY}")
        service.start()
        for seed in range(40):
            put_photo(service, f"{seed}.jpg", seed)
        store.wait_for(lambda seen: seen.stored.total() >= 5)
        killed = service.send("KILL")
        service.wait_for_another(killed)
        put_photo(service, "last.jpg", 99)
        counts = eventually(lambda: service.glance()["counts"], lambda now: now["published"] + now["uncertain"] == 41)
    assert service.show("NRestarts") == "1"
    assert set(store.stored.values()) == {1}
    assert store.stored.total() >= counts["published"]


def test_a_daemon_that_hangs_is_restarted_and_says_where_it_hung(service: Service) -> None:
    service.drop_in(AT_ONCE, "WatchdogSec=3s")
    service.configure()
    service.start()
    put_photo(service, "a.jpg", 1)
    service.wait_for(published=1)
    service.wait_for_another(service.send("STOP"))
    journal = "\n".join(service.journal())
    assert "Watchdog timeout" in journal
    assert "Fatal Python error: Aborted" in journal
    assert "in _turn" in journal
    assert service.wait_for(published=1)["uncertain"] == 0


def test_ended_for_want_of_memory_it_comes_back(service: Service) -> None:
    service.drop_in(AT_ONCE)
    service.configure()
    service.start()
    put_photo(service, "a.jpg", 1)
    service.wait_for(published=1)
    pid = service.show("MainPID")
    with service.machine.without_memory("pixstored"):
        put_photo(service, "b.jpg", 2, size=5_000_000)
        eventually(lambda: service.show("NRestarts"), lambda restarts: restarts != "0")
    service.wait_for_another(pid)
    service.wait_for(published=2)
    service.wait_for_line("status=9/KILL")


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ("a misspelt key", 78, "wacth"),
        ("no key", 78, "no API key"),
        ("no configuration", 78, CONFIG),
        ("no ledger", 74, "/var/lib/pixstored/ledger.db"),
    ],
)
def test_what_needs_a_person_is_told_once_and_not_tried_again(
    service: Service, fault: str, code: int, reason: str
) -> None:
    service.drop_in(AT_ONCE)
    match fault:
        case "a misspelt key":
            service.machine.put(CONFIG, f"wacth: [{{path: {PHOTOS}}}]\n")
        case "no key":
            service.configure("url: 'http://127.0.0.1:9/store'")
        case "no configuration":
            pass
        case "no ledger":
            service.configure()
            service.machine.put("/var/lib/pixstored/ledger.db", "no database at all" * 100, owner="pixstored:")
    assert service.machine.run("systemctl start pixstored").code != 0
    assert service.show("ExecMainStatus") == str(code)
    assert service.show("SubState") == "failed", "waiting for a restart is another state"
    assert service.show("NRestarts") == "0"
    service.wait_for_line(reason)


def test_while_another_daemon_has_the_ledger_it_tries_again(service: Service) -> None:
    service.drop_in(AT_ONCE)
    service.configure()
    service.machine.ok("install -d -o pixstored -g pixstored /var/lib/pixstored /run/pixstored")
    service.machine.ok("systemd-run --unit=by-hand --uid=pixstored --gid=pixstored --service-type=notify pixstored run")
    try:
        assert service.machine.run("systemctl start pixstored").code != 0
        eventually(lambda: service.show("ExecMainStatus"), lambda status: status == "75")  # 0 while it tries
    finally:
        service.machine.ok("systemctl stop by-hand")
    service.wait_for_another("0")


# --- the key


def test_the_key_comes_as_a_credential_and_is_never_shown(service: Service) -> None:
    store = FaultyStore(keys=frozenset({CANARY}))
    with service.machine.network(), store:
        service.configure(f"url: '{store.url}'")
        service.machine.put(KEY_FILE, f"{CANARY}\n", 0o600)
        service.start()
        put_photo(service, "a.jpg", 1)
        service.wait_for(published=1)
    assert store.requests[0].fields["key"] == CANARY
    assert service.machine.run(["cat", KEY_FILE], user="pixstored").code != 0
    told = [*service.journal(), service.command("status --json"), service.machine.ok("systemctl show pixstored")]
    assert not [line for line in told if CANARY in line]


def test_a_key_file_of_its_own_needs_no_credential(service: Service) -> None:
    store = FaultyStore(keys=frozenset({CANARY}))
    with service.machine.network(), store:
        service.configure(f"url: '{store.url}', key_file: own-key")
        service.machine.put("/etc/pixstored/own-key", CANARY, 0o640, "root:pixstored")
        service.start()
        put_photo(service, "a.jpg", 1)
        service.wait_for(published=1)


# --- the sandbox


def test_stores_are_reached_by_name_and_over_tls(service: Service) -> None:
    heard: list[Heard] = []
    with service.machine.network(), NameServer() as names, RawServer(store_all(heard), tls=True) as server:
        service.machine.put("/etc/resolv.conf", "nameserver 127.0.0.1\n")
        service.machine.put("/etc/pixstored/ca.pem", CERTIFICATE.read_text())
        service.configure(f"url: 'https://store.example:{server.port}/store', key: {CANARY}, ca_file: ca.pem")
        service.start()
        put_photo(service, "a.jpg", 1)
        service.wait_for(published=1)
        assert names.asked
    assert len(heard) == 1


def test_another_users_file_is_not_sent_while_it_is_written(service: Service) -> None:
    service.configure(watch=f"path: {PHOTOS}")
    service.start()
    service.machine.put("/srv/whole.jpg", jpeg(20_000, seed=1))
    write = f"exec 3>>{PHOTOS}/open.jpg; cat /srv/whole.jpg >&3; systemd-notify --ready; sleep infinity"
    service.machine.put("/srv/write.sh", write)
    service.machine.ok("systemd-run --unit=writer --service-type=notify --property=NotifyAccess=all sh /srv/write.sh")
    put_photo(service, "later.jpg", 2)
    service.wait_for_links("later.jpg")
    service.machine.ok("systemctl stop writer")
    service.wait_for_links("later.jpg", "open.jpg")


def test_what_is_mounted_later_is_seen(service: Service) -> None:
    service.machine.ok("mkdir -p /srv/card")
    service.configure(watch="path: /srv/card, existing: publish")
    service.start()
    service.machine.ok("mount -t tmpfs -o mode=755 card /srv/card")
    try:
        service.machine.put("/srv/card/a.jpg", jpeg(seed=1))
        service.wait_for(published=1)
    finally:
        service.machine.ok("umount /srv/card")


def test_it_writes_to_nothing_but_its_own_and_sees_no_home_but_those_it_is_shown(service: Service) -> None:
    service.configure()
    service.machine.put("/srv/probe.py", Path(__file__).with_name("probe.py").read_text())
    service.machine.ok("install -d -m 1777 /srv/open /home/open /home/watched /var/open")
    service.machine.put(KEY_FILE, CANARY, 0o600)
    run_probe = "ExecStart=/opt/pixstored/bin/python /srv/probe.py /var/lib/pixstored/told"
    home = "BindReadOnlyPaths=-/home/watched"
    service.drop_in(home, "Type=oneshot", "Restart=no", "WatchdogSec=0", "ExecStart=", run_probe)
    service.start()
    told = dict(line.split(": ") for line in service.machine.ok("cat /var/lib/pixstored/told").splitlines())
    assert told == {
        "write /run/pixstored": "done",
        "write /tmp": "done",
        "write /srv/open": "Read-only file system",
        "write /home/open": "No such file or directory",
        "write /root": "Read-only file system",
        "write /var/open": "Read-only file system",
        "write /etc": "Read-only file system",
        "write /usr": "Read-only file system",
        "read /home/open": "No such file or directory",
        "read /home/watched": "done",
        "write /home/watched": "Read-only file system",
        "read the key's file": "Permission denied",
        "capabilities": "cap_lease",
        "become root": "Operation not permitted",
        "new namespace": "Operation not permitted",
        "mount": "Operation not permitted",
        "raw packets": "Address family not supported by protocol",
        "writable code": "Operation not permitted",
        "see PID 1": "No such file or directory",
    }
    assert service.machine.ok("find /tmp /var/tmp -maxdepth 1 -name 'probe*'") == "", "its /tmp is its own"


class NameServer:
    """Says of any name that it is 127.0.0.1, on port 53 (RFC 1035), and counts how often it was asked."""

    def __init__(self) -> None:
        self.asked = 0
        outer = self

        class Answers(socketserver.DatagramRequestHandler):
            def handle(self) -> None:
                outer.asked += 1
                query = self.rfile.read()
                question = query[12 : query.index(b"\0", 12) + 5]
                is_a = question[-4:-2] == b"\0\1"
                head = query[:2] + b"\x81\x80\0\1" + (b"\0\1" if is_a else b"\0\0") + b"\0\0\0\0"
                record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4\x7f\0\0\1" if is_a else b""
                self.wfile.write(head + question + record)

        self._server = socketserver.UDPServer(("127.0.0.1", 53), Answers)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    def __enter__(self) -> NameServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

"""An app on a phone, by the real adb: whose packets, what is refused, and that nothing is left there
when the link is lost, however that happens and whatever su the phone has."""
import json
import os
import re
import signal
import subprocess

import pytest

import lab
import phone as phone_module
from pace import WAIT, in_time
from phone import APP, OTHER, PACKAGE, Phone, until

@pytest.fixture(scope="module", autouse=True)
def needs():
    reason = phone_module.why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="module")
def phone():
    with Phone() as p:
        yield p


@pytest.fixture(scope="module")
def root_phone():
    with Phone(su="none", adbd="root") as p:
        yield p


@pytest.fixture(params=["magisk", "aosp", "ksu", "adbd"])
def any_phone(request, phone):
    """Each way to be root there is. "adbd": commands are root's already."""
    if request.param == "adbd":
        yield request.getfixturevalue("root_phone")
        return
    phone.become(request.param)
    yield phone
    phone.become("magisk")


@pytest.fixture(autouse=True)
def attached(request):
    """Whatever the last test did to the link."""
    yield
    for name in ("phone", "root_phone"):
        p = request.node.funcargs.get(name) or request.node.funcargs.get("any_phone")
        if p and not p.is_attached():
            p.connect()


def payloads(path):
    """The datagrams' texts, as tshark reads them; it must find the file whole."""
    got = subprocess.run(["tshark", "-r", path, "-Y", "udp and not icmp", "-T", "fields", "-e", "udp.payload"],
                         capture_output=True, text=True, check=False)
    assert got.returncode == 0 and "cut short" not in got.stderr, got.stderr
    return [bytes.fromhex(line) for line in got.stdout.split()]


def numbers(texts, name):
    return [int(t[len(name):].split(b".")[0]) for t in texts if t.startswith(name)]


def exchange(phone, path, *options, env=()):
    """Captures while the app and another send; returns the capture."""
    other = phone.sender(OTHER, "other")
    capture = phone.capture(PACKAGE, "--device", phone.serial, "--json", *options,
                            output=path, env=env).wait_ready()
    app = phone.sender(APP, "app")
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    app.say("end")
    sent = int(app.line())
    assert capture.stop() == 0, capture.talk
    other.say("end")
    assert int(other.line()) > 0
    texts = payloads(path)
    assert numbers(texts, b"app") == list(range(1, sent + 1)) and not numbers(texts, b"other")
    return capture


def test_the_package_and_nobody_else(phone, tmp_path):
    capture = exchange(phone, str(tmp_path / "app.pcapng"))
    result = capture.json()
    assert {u["uid"] for u in result["uids"]} == {APP, APP + 10000, 1051}
    talk = " ".join(result["warnings"])
    assert "com.example.app.helper" in talk and "1051" in talk
    assert abs(result["clock"]["ahead_ms"]) <= result["clock"]["uncertain_ms"] + 5
    assert not phone.leftovers()


def test_the_only_device_is_the_default_and_strict_is_the_app_alone(phone, tmp_path):
    got = phone.run(PACKAGE, "--strict", "--json", "-d", "0.1", "-o", str(tmp_path / "x.pcap"))
    assert got.returncode == 0, got.stderr
    assert [u["uid"] for u in json.loads(got.stdout)["uids"]] == [APP]


@pytest.mark.parametrize("name, says", [
    ("com.example.ap", "'com.example.app'"),
    ("com.example.app; touch /data/local/tmp/was-here", "no package and no process"),
    ("$(touch /data/local/tmp/was-here)", "no package and no process"),
    ("it's `touch /data/local/tmp/was-here`", "no package and no process"),
    ("../../system/bin", "no package and no process"),
])
def test_unknown_and_hostile_names_capture_nothing(phone, tmp_path, name, says):
    path = tmp_path / "x.pcap"
    got = phone.run(name, "--device", phone.serial, "-o", str(path))
    assert got.returncode == 1 and says in got.stderr, got.stderr
    assert not path.exists()
    assert phone.exec("ls", "/data/local/tmp") == ""


def test_a_hostile_device_and_output_are_data(phone, tmp_path):
    got = phone.run(PACKAGE, "--device", "x; touch /tmp/was-here", "-o", str(tmp_path / "x.pcap"))
    assert got.returncode == 1 and "no device" in got.stderr
    assert not os.path.exists("/tmp/was-here")


@pytest.mark.parametrize("su, says", [
    ("deny", "su refuses: Permission denied"),
    ("none", "there is no su"),
    pytest.param("hang", "nobody answered", marks=pytest.mark.at_leisure),	# 10 s: somebody must read
])
def test_each_refusal_of_root_has_its_sentence(phone, su, says, tmp_path):
    phone.become(su)
    try:
        got = phone.run(PACKAGE, "-o", str(tmp_path / "x.pcap"))
    finally:
        phone.become("magisk")
    assert got.returncode == 1 and says in got.stderr and "try:" in got.stderr, got.stderr


def test_a_kept_agent_is_not_pushed_again_and_cleanup_removes_it(phone, tmp_path):
    path = str(tmp_path / "x.pcap")
    for _ in range(2):
        assert phone.run(PACKAGE, "--keep-agent", "-d", "0.1", "-o", path).returncode == 0
        kept = phone.exec("stat", "-c", "%u:%a %i", "-t", "/data/local/.apptap/")
    names = [f for f in phone.leftovers() if "/apptap-" in f]
    assert len(names) == 1 and kept
    assert phone.exec("stat", "-c", "%u:%g %a", names[0]) == "0:0 700"
    got = phone.run("--cleanup", "--json")
    assert json.loads(got.stdout)["files_removed"] >= 1, got.stdout
    assert not phone.leftovers()
    assert json.loads(phone.run("--cleanup", "--json").stdout)["files_removed"] == 0


def test_an_installed_program_finds_the_agents_installed_with_it(phone, tmp_path):
    subprocess.run(["meson", "install", "-C", lab.BUILD, "--no-rebuild", "--destdir", str(tmp_path)],
                   check=True, capture_output=True)
    program = next(tmp_path.glob("**/bin/apptap"))
    agents = {f.name for f in tmp_path.glob("**/share/apptap/*")}
    assert "apptap-x86_64" in agents and all(f.startswith("apptap-") for f in agents)
    env = {k: v for k, v in phone.env.items() if k != "APPTAP_AGENTS"}
    got = subprocess.run([program, PACKAGE, "--device", phone.serial, "-d", "0.1", "-o",
                          str(tmp_path / "x.pcap")], env=env, capture_output=True, text=True,
                         timeout=WAIT, check=False)
    assert got.returncode == 0, got.stderr
    assert not phone.leftovers()


def test_the_packages_are_listed(phone):
    apps = json.loads(phone.run("--list", "--json").stdout)
    assert {"uid": APP, "name": PACKAGE} in apps and {"uid": OTHER, "name": "com.example.other"} in apps
    assert f"{APP}      {PACKAGE}\n" in phone.run("--list").stdout


def test_probe_names_the_android(phone):
    got = phone.run("--probe", "--device", phone.serial)
    assert got.returncode == 0 and "Android 14 (API 34)" in got.stdout, got.stdout


def lose(phone, capture, way):
    if way.startswith("client"):
        for pid in phone.client_pids():
            os.kill(pid, getattr(signal, "SIG" + way.split()[1]))
    elif way == "server":
        phone.kill_server()
    elif way == "adbd":
        for pid in phone.pids("adbd"):
            os.kill(pid, signal.SIGKILL)
    elif way == "disconnect":
        phone.adb("disconnect", phone.serial)
    else:
        os.kill(capture_pid(capture), signal.SIGKILL)


def capture_pid(capture):
    """env has become the program."""
    return capture.proc.pid


@pytest.mark.parametrize("way", ["client INT", "client TERM", "client KILL", "server", "adbd",
                                 "disconnect", "host KILL"])
def test_nothing_is_left_when_the_link_is_lost(any_phone, tmp_path, way):
    p, path = any_phone, str(tmp_path / "cut.pcapng")
    sender = p.sender(APP, "app", size=200)
    capture = p.capture(PACKAGE, "--device", p.serial, output=path).wait_ready()
    assert until(lambda: os.path.getsize(path) > 20000) is not None
    assert p.pids("apptap")
    lose(p, capture, way)
    took = until(lambda: not p.leftovers())
    assert in_time(took, 2), (took, p.leftovers())
    code = capture.proc.wait(WAIT)
    if way != "host KILL":
        assert code == 1 and "cut" in "\n".join(capture.talk), (code, capture.talk)
    sender.say("end")
    sender.line()
    got = numbers(payloads(path), b"app")
    assert got and got == list(range(got[0], got[-1] + 1))


def test_isolated_processes_are_the_app_s_that_started_them(phone, tmp_path):
    path = str(tmp_path / "app.pcapng")
    webview = "com.google.android.webview:sandboxed_process0:x"
    ours, pid = phone.process(99045, webview, "ours")
    theirs, other_pid = phone.process(99046, webview, "theirs")
    named, _ = phone.process(99047, f"{PACKAGE}:render", "named")
    alike, _ = phone.process(99048, f"{PACKAGE}lication:render", "alike")
    phone.write("/data/system/activity", f"  ProcessRecord{{1 {pid}:{webview}/u0a123i45}}\n"
                f"  ProcessRecord{{2 {other_pid}:{webview}/u0a124i46}}\n")
    capture = phone.capture(PACKAGE, "--no-dns", "--json", output=path).wait_ready()
    forged, _ = phone.process(99046, f"{PACKAGE}:forged", "forged")	# as a child of theirs may
    everyone = (ours, theirs, named, alike, forged)
    for p in everyone:
        p.say("go")
    assert until(lambda: sum("99045" in t or "99047" in t for t in capture.talk) >= 2, 8) \
        is not None, (capture.talk, phone.device("ps"))
    size = os.path.getsize(path)
    assert until(lambda: os.path.getsize(path) > size + 20000) is not None
    for p in everyone:
        p.say("end")
        assert int(p.line()) > 0
    assert capture.stop() == 0
    texts = payloads(path)
    assert numbers(texts, b"ours") and numbers(texts, b"named")
    assert not any(numbers(texts, name) for name in (b"theirs", b"alike", b"forged"))
    assert {u["uid"] for u in capture.json()["uids"]} == {APP, APP + 10000, 99045, 99047}
    phone.write("/data/system/activity", "")


def test_users_and_work_profiles(phone, tmp_path):
    for folder in (f"/data/user/0/{PACKAGE}", f"/data/user/10/{PACKAGE}", "/data/user/11"):
        phone.exec("mkdir", "-p", folder)
    path = str(tmp_path / "x.pcap")
    for user, expected in (("10", {1010123}), ("all", {APP, 1010123})):
        got = phone.run(PACKAGE, "--strict", "--android-user", user, "--json", "-d", "0.1", "-o", path)
        assert {u["uid"] for u in json.loads(got.stdout)["uids"]} == expected, got.stderr
    got = phone.run(PACKAGE, "--android-user", "11", "-o", path)
    assert got.returncode == 1 and "it is there for: 0, 10" in got.stderr
    phone.exec("rm", "-r", "/data/user")


@pytest.mark.parametrize("source", ["cmd", "dumpsys", "folder"])
def test_packages_without_packages_list(phone, tmp_path, source):
    """Each source in turn, with those before it gone."""
    gone = {"cmd": [], "dumpsys": ["cmd", "pm"], "folder": ["cmd", "pm", "dumpsys"]}[source]
    files = ["/data/system/packages.list"] + [f"/system/bin/{n}" for n in gone]
    for f in files:
        phone.exec("mv", f, f + ".away")
    phone.exec("mkdir", "-p", f"/data/data/{PACKAGE}")
    phone.exec("chown", f"{APP}:{APP}", f"/data/data/{PACKAGE}")
    try:
        got = phone.run(PACKAGE, "--strict", "--json", "-d", "0.1", "-o", str(tmp_path / "x.pcap"))
    finally:
        for f in files:
            phone.exec("mv", f + ".away", f)
        phone.exec("rm", "-r", f"/data/data/{PACKAGE}")
    assert got.returncode == 0, got.stderr
    assert [u["uid"] for u in json.loads(got.stdout)["uids"]] == [APP]


def test_it_runs_on_the_phone_itself(phone, tmp_path):
    phone.adb("-s", phone.serial, "push", os.path.join(phone_module.AGENTS, "apptap-x86_64"),
              "/data/local/tmp/by-hand")
    phone.adb("-s", phone.serial, "shell", "chmod 755 /data/local/tmp/by-hand")
    sender = phone.sender(APP, "app")
    got = phone.adb("-s", phone.serial, "shell", "su -c 'cd /data/local/tmp; ./by-hand "
                    f"{PACKAGE} -d 0.5 -o /sdcard/x.pcapng 2>&1; chmod 644 /sdcard/x.pcapng'")
    sender.say("end")
    assert "package com.example.app" in got, got
    path = str(tmp_path / "x.pcapng")
    phone.adb("-s", phone.serial, "pull", "/sdcard/x.pcapng", path)
    phone.exec("rm", "/sdcard/x.pcapng", "/data/local/tmp/by-hand")
    assert numbers(payloads(path), b"app")
    assert not phone.leftovers()


def spooled(phone, path, *how):
    drive = lab.Program([os.path.join(lab.BUILD, "tests", "e2e", "spooldrive"), phone.serial, PACKAGE,
                         path, *how], merge=bool(how), env={**os.environ, **phone.env})
    phone.programs.append(drive)
    assert drive.line() == "ready"
    return drive


def test_a_transport_without_streams_spools(phone, tmp_path):
    path = str(tmp_path / "app.pcapng")
    other = phone.sender(OTHER, "other")
    drive = spooled(phone, path)
    app = phone.sender(APP, "app", size=1000)
    sent_before = phone.sent()
    assert until(lambda: phone.sent() > sent_before + 100) is not None
    assert until(lambda: any("spool-" in f for f in phone.leftovers())) is not None
    app.say("end")
    sent = int(app.line())
    other.say("end")
    drive.say("end")
    packets = int(drive.line())
    assert drive.finish() == 0 and packets >= sent > 0
    texts = payloads(path)
    assert numbers(texts, b"app") == list(range(1, sent + 1))
    assert not numbers(texts, b"other")
    assert not phone.leftovers()


def test_a_spooled_capture_that_cannot_be_fetched_is_not_lost(phone, tmp_path):
    path, fetched = str(tmp_path / "app.pcapng"), str(tmp_path / "by-hand.pcapng")
    drive = spooled(phone, path, "no-pull")
    app = phone.sender(APP, "app", size=1000)
    sent_before = phone.sent()
    assert until(lambda: phone.sent() > sent_before + 100) is not None
    app.say("end")
    sent = int(app.line())
    drive.say("end")
    said, hint = drive.line(), drive.line()
    assert int(drive.line()) >= sent > 0 and drive.finish() == 1
    left = phone.leftovers()
    assert len(left) == 1 and "/.apptap-capture-" in left[0], left
    assert phone.exec("stat", "-c", "%u %a", left[0]) == "2000 600"	# no app may read it
    assert "fetching the capture" in said and hint.endswith(left[0]), (said, hint)
    assert not os.path.exists(path)	# rather none than an empty one
    told = json.loads(phone.run("--cleanup", "--json").stdout)
    assert [x["path"] for x in told["captures_left"]] == left and phone.leftovers() == left
    assert f"left: {left[0]}" in phone.run("--cleanup").stdout
    phone.adb("-s", phone.serial, "pull", left[0], fetched)
    assert numbers(payloads(fetched), b"app") == list(range(1, sent + 1))
    phone.exec("touch", "-d", "2020-01-01T00:00:00", left[0])
    assert json.loads(phone.run("--cleanup", "--json").stdout)["files_removed"] == 1
    assert not phone.leftovers()


def test_a_spool_whose_host_is_dead_removes_itself(phone, tmp_path):
    drive = spooled(phone, str(tmp_path / "app.pcapng"))
    drive.kill()
    assert phone.leftovers()
    assert in_time(until(lambda: not phone.leftovers()), 20), phone.leftovers()


def test_what_an_app_puts_in_the_way_does_not_hang_cleanup(phone):
    """/tmp is everybody's, on Linux; opening a FIFO never ends."""
    for path in ("/tmp/.apptap-x", "/tmp/.apptap-capture-y", "/tmp/.apptap-spool-z"):
        phone.exec("mkdir", path)
        phone.exec("mkfifo", f"{path}/out", f"{path}/capture")
        phone.exec("chown", "-R", f"{OTHER}:{OTHER}", path)
    phone.exec("mkfifo", "/tmp/.apptap-fifo")
    phone.exec("ln", "-s", "/data/system/packages.list", "/tmp/.apptap-link")
    try:
        got = phone.run("--cleanup", "--json", timeout=20)
    finally:
        phone.exec("sh", "-c", "rm -rf /tmp/.apptap-*")
    assert got.returncode == 0 and json.loads(got.stdout)["files_removed"] == 2, (got.stdout, got.stderr)
    assert PACKAGE in phone.exec("cat", "/data/system/packages.list")


def test_a_phone_without_space_is_called_so(phone, tmp_path):
    phone.exec("mount", "-t", "tmpfs", "-o", "size=64k,mode=771,uid=2000,gid=2000", "x", "/data/local/tmp")
    try:
        got = phone.run(PACKAGE, "-o", str(tmp_path / "x.pcap"))
        left = phone.leftovers()
    finally:
        phone.exec("umount", "/data/local/tmp")
    assert got.returncode == 1 and "has no space left" in got.stderr and "try: free" in got.stderr, got.stderr
    assert not left and not (tmp_path / "x.pcap").exists()


@pytest.mark.parametrize("by", ["bpf", "nflog", "sockdiag"])
def test_a_package_that_is_installed_anew_is_followed(phone, tmp_path, by):
    """Removed, it stays as it was; installed again, it has another UID, and its old one is another's."""
    path, files = str(tmp_path / "app.pcapng"), ("/system/etc/packages", "/data/system/packages.list")
    packages = [phone.exec("cat", f) + "\n" for f in files]

    def install(line):
        for f, text in zip(files, packages):
            phone.write(f, "".join(re.sub(f"^{PACKAGE} {APP}", line, x) for x in text.splitlines(True)))

    capture = phone.capture(PACKAGE, "--no-dns", "--json", "--tier", by, output=path).wait_ready()
    try:
        install("gone 10999")
        assert until(lambda: any("not installed any more" in t for t in capture.talk)) is not None, capture.talk
        install(f"{PACKAGE} 10200")
        assert until(lambda: any("UID 10200" in t for t in capture.talk)) is not None, capture.talk
        anew, old = phone.sender(10200, "anew"), phone.sender(APP, "old")
        size = os.path.getsize(path)
        assert until(lambda: os.path.getsize(path) > size + 20000) is not None
        for p in (anew, old):
            p.say("end")
        sent = int(anew.line())
        assert int(old.line()) and capture.stop() == 0, capture.talk
    finally:
        install(f"{PACKAGE} {APP}")
    texts = payloads(path)
    assert numbers(texts, b"anew") == list(range(1, sent + 1)) and not numbers(texts, b"old")
    assert {10200, 20200} <= {u["uid"] for u in capture.json()["uids"]}

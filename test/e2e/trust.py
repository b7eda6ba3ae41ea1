#!/usr/bin/env python3
"""Signature policies with real signatures: skopeo with GPG keys, cosign with key pairs, pulls and containers.

The names are those of the registry on loopback itself; cosign's cases are skipped where it could not be built.
"""

from __future__ import annotations

import functools
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "integration"))
from davit_test import paths  # noqa: E402
from davit_test.cri import container_config, pod_config  # noqa: E402
from davit_test.report import Report  # noqa: E402
from davit_test.stage import Stage  # noqa: E402
from davit_test.suite import options, reported, stage_of  # noqa: E402

SOURCE = "e2e-test-images/busybox:1.29-2"
OTHER = "e2e-test-images/nginx:1.14-2"
MARK = "SignatureValidationFailed"


def run(*words: str, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=120,
                          env={**os.environ, **(env or {})})
    assert done.returncode == 0, f"{' '.join(words[:3])}: {done.stderr[-800:]}"
    return done.stdout


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


class Signers:
    """Keys, policy files and lookaside of one stage, all below its directory."""

    def __init__(self, stage: Stage):
        self.stage = stage
        self.host = f"127.0.0.1:{stage.registry.port}"
        self.dir = stage.work / "trust"
        self.registries_d = self.dir / "registries.d"
        self.registries_d.mkdir(parents=True)
        self.namespaces = self.dir / "namespaces"
        self.namespaces.mkdir()
        self.policy = self.dir / "policy.json"
        self.lookaside = self.dir / "lookaside"
        # gpg's agent has a socket below its home, whose path must be short.
        self.home = Path(tempfile.mkdtemp(prefix="dvt-gpg-"))
        (self.registries_d / "test.yaml").write_text(
            f"docker:\n  {self.host}:\n    lookaside: file://{self.lookaside}\n"
            f"    lookaside-staging: file://{self.lookaside}\n")
        for user in ("good", "bad"):
            self.gpg("--passphrase", "", "--quick-generate-key", f"{user}@example.com", "rsa2048", "sign", "never")
            self.export(user)

    def close(self) -> None:
        subprocess.run(["gpgconf", "--homedir", str(self.home), "--kill", "all"], capture_output=True)
        shutil.rmtree(self.home, ignore_errors=True)

    def gpg(self, *words: str) -> str:
        return run("gpg", "--homedir", str(self.home), "--batch", "--yes", "--no-tty", "--pinentry-mode", "loopback", *words)

    def export(self, user: str) -> None:
        (self.dir / f"{user}.asc").write_text(self.gpg("--armor", "--export", f"{user}@example.com"))

    def name(self, repository: str, tag: str = "v1") -> str:
        return f"{self.host}/{repository}:{tag}"

    def push(self, repository: str, user: str = "", source: str = SOURCE, tag: str = "v1") -> str:
        """Copies a fixture image to a name; signed by simple signing when `user` is given. Returns its digest."""
        signing = ["--sign-by", f"{user}@example.com"] if user else []
        run("skopeo", "--registries.d", str(self.registries_d), "--insecure-policy", "copy", "-q", *signing,
            "--src-tls-verify=false", "--dest-tls-verify=false",
            f"docker://{self.host}/{source}", f"docker://{self.name(repository, tag)}", env={"GNUPGHOME": str(self.home)})
        return run("skopeo", "inspect", "--tls-verify=false", "--format", "{{.Digest}}",
                   f"docker://{self.name(repository, tag)}").strip()

    def signature(self, repository: str, digest: str) -> Path:
        return self.lookaside / f"{repository}@{digest.replace(':', '=')}" / "signature-1"

    def by(self, *users: str, **more: object) -> dict:
        return {"type": "signedBy", "keyType": "GPGKeys", "keyPaths": [str(self.dir / f"{u}.asc") for u in users], **more}

    def rules(self, scopes: dict[str, list[dict]], file: Path | None = None) -> None:
        """A policy that accepts anything but in these scopes (repositories of the registry)."""
        (file or self.policy).write_text(json.dumps({
            "default": [{"type": "insecureAcceptAnything"}],
            "transports": {"docker": {f"{self.host}/{scope}": rule for scope, rule in scopes.items()}}}))

    def config(self) -> str:
        return "\n".join(["[image]", f'signature_policy = "{self.policy}"', f'signature_policy_dir = "{self.namespaces}"',
                          f'registries_d = "{self.registries_d}"']) + "\n"


def refused(text: str, *parts: str) -> None:
    text = text.replace('\\"', '"')  # crictl quotes what it prints
    for part in (MARK, *parts):
        assert part in text, f"{part!r} is not in: {text[-700:]}"


def simple_signing(report: Report, stage: Stage, signers: Signers) -> None:
    client = stage.client()
    good = [signers.by("good")]

    def signed() -> None:
        signers.push("gpg/signed", "good")
        signers.rules({"gpg": good})
        client.pull(signers.name("gpg/signed"))

    def refuse(repository: str, *parts: str) -> None:
        said = client.refuse("pull", signers.name(repository))
        refused(said, str(signers.policy), *parts)
        # What the kubelet makes a reason of: its client gives the word at the beginning, and only of UNKNOWN.
        assert f"pulling image: {MARK}: " in said, said
        held = [tag for image in client.images() for tag in image.get("repoTags") or []]
        assert signers.name(repository) not in held, "a refused image is there"

    def unsigned() -> None:
        signers.push("gpg/unsigned")
        signers.rules({"gpg": good})
        refuse("gpg/unsigned", f'transports.docker["{signers.host}/gpg"]', "requirement 1 (signedBy)", "no signature")

    def wrong_key() -> None:
        signers.push("gpg/foreign", "bad")
        signers.rules({"gpg": good})
        refuse("gpg/foreign", "not made with any of the keys")

    def wrong_identity() -> None:
        digest = signers.push("gpg/source", "good")
        signers.push("gpg/renamed")
        target = signers.signature("gpg/renamed", digest)
        target.parent.mkdir(parents=True)
        shutil.copy(signers.signature("gpg/source", digest), target)
        signers.rules({"gpg": good})
        refuse("gpg/renamed", f'for "{signers.name("gpg/source")}"')
        signers.rules({"gpg": [signers.by("good", signedIdentity={
            "type": "exactRepository", "dockerRepository": f"{signers.host}/gpg/source"})]})
        client.pull(signers.name("gpg/renamed"))

    def other_digest() -> None:
        first = signers.push("gpg/swapped", "good")
        second = signers.push("gpg/swapped", source=OTHER)
        assert first != second, "the two fixtures are one image"
        target = signers.signature("gpg/swapped", second)
        target.parent.mkdir(parents=True)
        shutil.copy(signers.signature("gpg/swapped", first), target)
        signers.rules({"gpg": good})
        refuse("gpg/swapped", "of another digest")

    def truncated() -> None:
        digest = signers.push("gpg/cut", "good")
        file = signers.signature("gpg/cut", digest)
        whole = file.read_bytes()
        signers.rules({"gpg": good})
        for size in (0, 1, len(whole) // 2, len(whole) - 1):
            file.write_bytes(whole[:size])
            refuse("gpg/cut", "requirement 1")
        flipped = bytearray(whole)
        flipped[len(whole) // 2] ^= 1
        file.write_bytes(bytes(flipped))
        refuse("gpg/cut", "requirement 1")
        file.write_bytes(whole)
        client.pull(signers.name("gpg/cut"))

    def both() -> None:
        signers.push("gpg/two", "good")
        signers.rules({"gpg": [signers.by("good"), signers.by("bad")]})
        refuse("gpg/two", "requirement 2 (signedBy)")

    def expired_and_revoked() -> None:
        for user in ("old", "revoked"):
            signers.gpg("--passphrase", "", "--quick-generate-key", f"{user}@example.com", "rsa2048", "sign", "never")
            signers.export(user)
            signers.push(f"gpg/{user}", user)
            signers.rules({"gpg": [signers.by(user)]})
            client.pull(signers.name(f"gpg/{user}"))
            client.remove_image(signers.name(f"gpg/{user}"))
        fingerprint = {user: next(line.split(":")[9] for line in signers.gpg(
            "--with-colons", "--list-keys", f"{user}@example.com").splitlines() if line.startswith("fpr:"))
            for user in ("old", "revoked")}
        # In the past on the signer's clock: the key was good when it signed, and is not now.
        signers.gpg("--faked-system-time", "20200101T000000", "--passphrase", "", "--quick-generate-key",
                    "past@example.com", "rsa2048", "sign", "1d")
        signers.export("past")
        run("gpg", "--homedir", str(signers.home), "--batch", "--yes", "--no-tty", "--import",
            str(revocation(signers, fingerprint["revoked"])))
        signers.export("revoked")
        signers.rules({"gpg": [signers.by("revoked")]})
        refuse("gpg/revoked", "revoked")
        digest = signers.push("gpg/past")
        payload = signers.dir / "payload"
        payload.write_text(json.dumps({"critical": {
            "type": "atomic container signature", "image": {"docker-manifest-digest": digest},
            "identity": {"docker-reference": signers.name("gpg/past")}}, "optional": {}}))
        target = signers.signature("gpg/past", digest)
        target.parent.mkdir(parents=True, exist_ok=True)
        signers.gpg("--faked-system-time", "20200101T010000", "--passphrase", "", "-u", "past@example.com",
                    "--output", str(target), "--sign", str(payload))
        signers.rules({"gpg": [signers.by("past")]})
        refuse("gpg/past", "expired")

    def by_http() -> None:
        digest = signers.push("gpg/http", "good")
        handler = functools.partial(Quiet, directory=str(signers.lookaside))
        file = signers.registries_d / "test.yaml"
        before = file.read_text()
        signers.rules({"gpg": good})
        with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            file.write_text(f"docker:\n  {signers.host}/gpg:\n"
                            f"    lookaside: http://127.0.0.1:{server.server_address[1]}\n")
            try:
                client.pull(signers.name("gpg/http"))
                client.remove_image(signers.name("gpg/http"))
                signers.signature("gpg/http", digest).unlink()
                refuse("gpg/http", "no signature")
            finally:
                file.write_text(before)
                server.shutdown()

    report.run("an image signed by GPG is taken", signed)
    report.run("a lookaside over HTTP", by_http)
    report.run("an unsigned one is refused, with file, scope and requirement", unsigned)
    report.run("a signature of another key does not count", wrong_key)
    report.run("a signature for another name does not count, unless the policy maps it", wrong_identity)
    report.run("a signature of another digest does not count", other_digest)
    report.run("a truncated or changed signature does not count", truncated)
    report.run("every requirement has to hold", both)
    report.run("an expired or revoked key does not count", expired_and_revoked)


def revocation(signers: Signers, fingerprint: str) -> Path:
    """The certificate that gpg made with the key; it has a colon in front against mistakes."""
    made = signers.home / "openpgp-revocs.d" / f"{fingerprint}.rev"
    usable = signers.dir / "revocation.asc"
    usable.write_text(made.read_text().replace(":-----BEGIN", "-----BEGIN"))
    return usable


def containers(report: Report, stage: Stage, signers: Signers) -> None:
    client = stage.client()

    def changed_policy() -> None:
        signers.push("run/app", "good")
        name = signers.name("run/app")
        signers.rules({"run": [signers.by("good")]})
        client.pull(name)
        pod = pod_config("trust", log_directory=str(stage.logs("trust")))
        pod_id = client.run_pod(pod)
        client.create(pod_id, container_config("first", name, "sleep", "60"), pod)
        # Without registry and lookaside: what the pull kept is enough.
        shutil.move(signers.lookaside, signers.dir / "away")
        stage.registry.stop()
        try:
            signers.rules({"run": [signers.by("bad")]})
            text = client.refuse("create", "--no-pull", pod_id, client.write("c.json", container_config("second", name, "sleep", "60")),
                                 client.write("p.json", pod))
            refused(text, "requirement 1 (signedBy)", "not made with any of the keys")
            signers.rules({"run": [signers.by("bad", "good")]})
            client.create(pod_id, container_config("third", name, "sleep", "60"), pod)
        finally:
            shutil.move(signers.dir / "away", signers.lookaside)
            stage.registry.start()
        volume = container_config("volume", name, "sleep", "60")
        other = signers.name("plain/data")
        signers.push("plain/data", source=OTHER)
        client.pull(other)
        signers.rules({"run": [signers.by("good")], "plain": [{"type": "reject"}]})
        volume["mounts"] = [{"container_path": "/data", "image": {"image": other}}]
        refused(client.refuse("create", "--no-pull", pod_id, client.write("c.json", volume), client.write("p.json", pod)),
                "mounts[0].image", "reject")
        client.remove_everything()

    def namespace_policy() -> None:
        signers.push("ns/app")
        signers.rules({})
        signers.rules({"ns": [{"type": "reject"}]}, signers.namespaces / "strict.json")
        pod = pod_config("trust", log_directory=str(stage.logs("trust")))
        pod["metadata"]["namespace"] = "strict"
        text = client.refuse("pull", "--pod-config", client.write("pod.json", pod), signers.name("ns/app"))
        refused(text, "strict.json", "reject")
        pod["metadata"]["namespace"] = "other"
        client.call("pull", "--pod-config", client.write("pod.json", pod), signers.name("ns/app"))

    def broken_policy() -> None:
        signers.push("broken/app")
        for text in (None, "{", '{"default": [{"type": "accept"}]}'):
            signers.policy.unlink()
            if text is not None:
                signers.policy.write_text(text)
            refused(client.refuse("pull", signers.name("broken/app")), str(signers.policy))
            conditions = {c["type"]: c for c in json.loads(client.call("info"))["status"]["conditions"]}
            assert conditions["SignaturePolicyReady"]["status"] is False, conditions
            assert str(signers.policy) in conditions["SignaturePolicyReady"]["message"], conditions
            signers.policy.write_text("")
        signers.rules({})
        client.pull(signers.name("broken/app"))

    report.run("a policy changed after the pull counts for the next container, offline", changed_policy)
    report.run("a namespace has a policy of its own", namespace_policy)
    report.run("a missing or broken policy refuses every pull and shows in the status", broken_policy)


def sigstore(report: Report, stage: Stage, signers: Signers) -> None:
    client = stage.client()
    cosign = paths.find_tool("cosign")
    if cosign is None:
        report.add_skip("cosign", "cosign is not built (tools/bootstrap, needs Go)")
        return
    env = {"COSIGN_PASSWORD": "", "HOME": str(signers.dir), "COSIGN_EXPERIMENTAL": "1"}
    for key in ("one", "two"):
        run(cosign, "generate-key-pair", "--output-key-prefix", str(signers.dir / key), env=env)

    def by(key: str, **more: object) -> list[dict]:
        return [{"type": "sigstoreSigned", "keyPath": str(signers.dir / f"{key}.pub"),
                 "signedIdentity": {"type": "matchRepository"}, **more}]

    def sign(repository: str, key: str, *more: str) -> str:
        digest = signers.push(repository)
        run(cosign, "sign", "--yes", "--tlog-upload=false", "--allow-http-registry", "--allow-insecure-registry",
            "--key", str(signers.dir / f"{key}.key"), *more, f"{signers.host}/{repository}@{digest}", env=env)
        return digest

    def tag_layout() -> None:
        sign("cosign/app", "one")
        signers.rules({"cosign": by("one")})
        client.pull(signers.name("cosign/app"))

    def wrong_key() -> None:
        sign("cosign/foreign", "two")
        signers.rules({"cosign": by("one")})
        refused(client.refuse("pull", signers.name("cosign/foreign")), "sigstoreSigned", "not made with any of the keys")

    def unsigned() -> None:
        signers.push("cosign/none")
        signers.rules({"cosign": by("one")})
        refused(client.refuse("pull", signers.name("cosign/none")), "there is no signature")

    def identity() -> None:
        sign("cosign/named", "one", "--sign-container-identity", signers.name("cosign/named"))
        signers.rules({"cosign": by("one", signedIdentity={"type": "matchExact"})})
        client.pull(signers.name("cosign/named"))
        sign("cosign/misnamed", "one", "--sign-container-identity", signers.name("cosign/named"))
        refused(client.refuse("pull", signers.name("cosign/misnamed")), f'for "{signers.name("cosign/named")}"')

    def referrers() -> None:
        sign("cosign/referrers", "one", "--registry-referrers-mode=oci-1-1")
        signers.rules({"cosign": by("one")})
        client.pull(signers.name("cosign/referrers"))

    def no_fulcio() -> None:
        rule = by("one")
        del rule[0]["keyPath"]
        rule[0]["fulcio"] = {"caData": "AAAA", "oidcIssuer": "x", "subjectEmail": "y"}
        signers.rules({"cosign": rule})
        refused(client.refuse("pull", signers.name("cosign/foreign")), "fulcio is not supported")

    def log_wanted() -> None:
        signers.rules({"cosign": by("one", rekorPublicKeyPath=str(signers.dir / "two.pub"))})
        client.remove_image(signers.name("cosign/app"))
        refused(client.refuse("pull", signers.name("cosign/app")), "log entry")

    report.run("an image signed by cosign is taken", tag_layout)
    report.run("cosign: another key does not count", wrong_key)
    report.run("cosign: unsigned is refused", unsigned)
    report.run("cosign: the identity has to fit", identity)
    report.run("cosign: signatures found through referrers", referrers)
    report.run("cosign: fulcio is no acceptance", no_fulcio)
    report.run("cosign: a wanted log entry is missing", log_wanted)


def main() -> int:
    args = options(__doc__).parse_args()
    report = Report("trust")
    with reported(report), stage_of("trust", args) as stage:
        for program in ("skopeo", "gpg"):
            if not shutil.which(program):
                raise paths.Skip(f"{program} is not installed (tools/bootstrap)")
        signers = Signers(stage)
        try:
            signers.rules({})
            stage.engine.extra += signers.config()
            stage.engine.start()
            simple_signing(report, stage, signers)
            sigstore(report, stage, signers)
            containers(report, stage, signers)
        finally:
            signers.close()
    return report.finish()


if __name__ == "__main__":
    sys.exit(main())

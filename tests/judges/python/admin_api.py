"""Runs schemathesis against the admin API. Its seed is fixed: what it finds, it finds again."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request

judged = json.loads(os.environ["PARTYWALL_JUDGED"])

# Two checks have their own idea of a status code. A header that must not be missing and is, is
# answered by 428 (RFC 6585 3), to whoever may do it at all. And what is of the right form can still say something that is
# refused: the description does not tell every limit, so the answer may be one that it lists.
administrator = judged.get("administrator")
CHECKS = f"""
[checks]
missing_required_header.expected-statuses = {[428, 403] if administrator else [428]}
positive_data_acceptance.expected-statuses = [
    "2xx", 400, 401, 403, 404, 409, 422, 429,
]
"""
# What there is: an id drawn at random is never one. `*` changes whatever is there.
THERE_IS = f"""
[parameters]
"path.tenant" = "{judged['tenant']}"
"header.If-Match" = "*"
"""
# Operations that follow one another take their ids from the answers before.
ALONE = f"""
"path.user" = "{judged['user']}"
"path.machine" = "{judged['robot']['id']}"
"""


def token(client):
    """An access token for the admin API: a tenant's administrator has no key."""
    form = {
        "grant_type": "client_credentials",
        "client_id": client["id"],
        "client_secret": client["secret"],
        "resource": f"{judged['issuer']}/admin",
        "scope": "admin",
    }
    form = urllib.parse.urlencode(form).encode()
    with urllib.request.urlopen(f"{judged['issuer']}/token", form) as answer:
        return json.load(answer)["access_token"]


def reads(path):
    """The status of a request for what there is."""
    url = f"{judged['issuer']}/admin/v1{path}"
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {caller}"})
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status
    except urllib.error.HTTPError as refused:
        return refused.code


def judge(name, config, *options):
    with tempfile.TemporaryDirectory() as here:
        here = pathlib.Path(here)
        (here / "schemathesis.toml").write_text(config)
        run = subprocess.run(
            [
                str(pathlib.Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{judged['issuer']}/admin/v1/openapi.json",
                *("--header", f"Authorization: Bearer {caller}"),
                *("--checks", "all"),
                *("--seed", "4"),
                *("--rate-limit", "150/s"),
                *("--warnings", "off"),
                "--no-shrink",
                *options,
            ],
            cwd=here,
            env={**os.environ, "NO_COLOR": "1", "COLUMNS": "100"},
            timeout=100,
        )
    if run.returncode:
        sys.exit(f"FAILED: {name}")
    print(f"held: {name}", flush=True)


caller = token(administrator) if administrator else judged["operatorKey"]
who = "a tenant's administrator" if administrator else "an operator"
own = f"/tenants/{judged['tenant']}/users"
# Whoever is refused everywhere is refused as described, which would show nothing.
assert reads(own) == 200
# Refuses every token of the tenant so far, its administrator's among them.
LAST = ("--exclude-operation-id", "bumpTenantEpoch") if administrator else ()

judge(
    f"every operation is as its description says, for {who}",
    CHECKS + THERE_IS + ALONE,
    *("--phases", "examples,coverage,fuzzing"),
    *("--max-examples", "15"),
    *LAST,
)
judge(
    f"operations that follow one another are, for {who}",
    CHECKS + THERE_IS,
    *("--phases", "stateful"),
    *("--max-examples", "8"),
    *LAST,
)
if administrator:
    # Its token was heard to the end, for its own tenant and no further.
    assert reads(own) == 200
    assert reads("/audit-events") == 403

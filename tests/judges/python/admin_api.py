"""Runs schemathesis against the admin API. Its seed is fixed: what it finds, it finds again."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

judged = json.loads(os.environ["PARTYWALL_JUDGED"])

# Two checks have their own idea of a status code. A header that must not be missing and is, is
# answered by 428 (RFC 6585 3). And what is of the right form can still say something that is
# refused: the description does not tell every limit, so the answer may be one that it lists.
CHECKS = """
[checks]
missing_required_header.expected-statuses = [428]
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


def judge(name, config, *options):
    with tempfile.TemporaryDirectory() as here:
        here = pathlib.Path(here)
        (here / "schemathesis.toml").write_text(config)
        run = subprocess.run(
            [
                str(pathlib.Path(sys.executable).with_name("schemathesis")),
                "run",
                f"{judged['issuer']}/admin/v1/openapi.json",
                *("--header", f"Authorization: Bearer {judged['operatorKey']}"),
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


judge(
    "every operation is as its description says",
    CHECKS + THERE_IS + ALONE,
    *("--phases", "examples,coverage,fuzzing"),
    *("--max-examples", "15"),
)
judge(
    "operations that follow one another are",
    CHECKS + THERE_IS,
    *("--phases", "stateful"),
    *("--max-examples", "8"),
)

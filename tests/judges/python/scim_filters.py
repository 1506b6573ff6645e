"""Makes filters by the grammar of RFC 7644 3.4.2.2 and asks two evaluators: ours, over HTTP, and that
of scim2-models, on what ours answers with. They agree on whom a filter finds, or both refuse it."""

import json
import os
import random
import sys

import httpx2
from scim2_client.engines.httpx2 import SyncSCIMClient
from scim2_models import Context, SCIMException, ScimFilter

judged = json.loads(os.environ["PARTYWALL_JUDGED"])
seed = judged.get("seed") or random.randrange(2**32)
dice = random.Random(seed)

CORE = "urn:ietf:params:scim:schemas:core:2.0:User"
ENTERPRISE = "urn:ietf:params:scim:schemas:extension:enterprise:2.0:User"
WORDS = ["ada", "Ada", "LOVELACE", "acme.test", "a", "z", "", "work", "home", "Straße", "ÄÖ", "x\"y", "b\\c", "100%", "é"]
TIMES = ["2011-05-13T04:42:34Z", "2026-01-02T03:04:05+01:00", "2999-12-31T23:59:59Z", "yesterday"]
TEXTS = [
    "userName", "displayName", "title", "nickName", "name.familyName", "name.givenName", "externalId",
    "emails", "emails.value", "emails.type", "emails.display", "phoneNumbers", "phoneNumbers.value",
    "addresses.locality", "addresses.country", "id", "meta.resourceType",
    f"{CORE}:userName", f"{CORE}:name.familyName", f"{CORE.upper()}:nickName",
    f"{ENTERPRISE}:department", f"{ENTERPRISE}:employeeNumber", f"{ENTERPRISE}:manager.value",
]
BOOLEANS = ["active", "emails.primary", "phoneNumbers.primary", f"{CORE}:active"]
MOMENTS = ["meta.created", "meta.lastModified"]
COMPLEX = ["name", "addresses", "meta", f"{ENTERPRISE}:manager"]
UNKNOWN = ["shoeSize", "name.shoeSize", "urn:example:Cat:name", "emails.shoeSize"]
PARTS = {
    "emails": (["value", "type", "display"], ["primary"]),
    "phoneNumbers": (["value", "type"], ["primary"]),
    "addresses": (["locality", "country", "type"], ["primary"]),
}
ORDER = ["eq", "ne", "gt", "ge", "lt", "le"]
WITHIN = ["co", "sw", "ew"]


def cased(word):
    return dice.choice([word, word, word, word.upper(), word.capitalize()])


def spelled(path):
    return path if "urn:" in path.lower() or dice.random() < 0.8 else path.upper()


def literal(text):
    return json.dumps(text, ensure_ascii=dice.random() < 0.3)


def text_value(op, values):
    if op in WITHIN:
        return dice.choice([literal(dice.choice(WORDS)), literal(dice.choice(values)[1:]), "null"])
    other = ["null", "true", "42", literal(dice.choice(WORDS))]
    near = dice.choice(values)
    same = [literal(near), literal(near.swapcase()), literal(near + "x")]
    return dice.choice(same * 3 + other)


def compared(texts, booleans, values):
    kind = dice.random()
    if kind < 0.1:
        return f"{spelled(dice.choice(texts + booleans))} {cased('pr')}"
    if booleans and kind < 0.25:
        op = dice.choice(["eq", "ne", "eq", "ne", "gt", "co"])
        value = dice.choice(["true", "false", "null", '"True"', '"false"', '"perhaps"', "42"])
        return f"{spelled(dice.choice(booleans))} {cased(op)} {value}"
    op = dice.choice(ORDER + WITHIN)
    return f"{spelled(dice.choice(texts))} {cased(op)} {text_value(op, values)}"


def term(values):
    kind = dice.random()
    if kind < 0.08:
        op = dice.choice(ORDER + WITHIN)
        value = "null" if dice.random() < 0.1 else literal(dice.choice(TIMES))
        return f"{spelled(dice.choice(MOMENTS))} {cased(op)} {value}"
    if kind < 0.14:
        op = dice.choice(ORDER)
        return f"{dice.choice(COMPLEX)} {cased(op)} {dice.choice(['null', literal('x'), 'true', '7'])}"
    if kind < 0.18:
        return f"{dice.choice(COMPLEX)} {cased('pr')}"
    if kind < 0.23:
        return dice.choice([f"{dice.choice(UNKNOWN)} eq \"x\"", f"{dice.choice(UNKNOWN)} pr"])
    if kind < 0.4:
        head = dice.choice(list(PARTS))
        texts, booleans = PARTS[head]
        inner = expression(2, lambda: compared(texts, booleans, values))
        behind = f".{dice.choice(texts)} eq {literal(dice.choice(values))}" if dice.random() < 0.15 else ""
        return f"{spelled(head)}[{inner}]{behind}"
    return compared(TEXTS, BOOLEANS, values)


def expression(depth, leaf):
    kind = dice.random()
    if depth == 0 or kind < 0.5:
        return leaf()
    if kind < 0.62:
        return f"{cased('not')}{dice.choice([' ', ''])}({expression(depth - 1, leaf)})"
    if kind < 0.7:
        return f"({expression(depth - 1, leaf)})"
    terms = [expression(depth - 1, leaf) for _ in range(dice.choice([2, 2, 3]))]
    joined = [terms[0]]
    for one in terms[1:]:
        joined += [cased(dice.choice(["and", "or"])), one]
    return " ".join(joined)


PEOPLE = [
    {"userName": "ada@acme.test", "externalId": "E-1", "displayName": "Ada", "title": "Countess",
     "name": {"familyName": "Lovelace", "givenName": "Ada"},
     "emails": [{"value": "ada@acme.test", "type": "work", "primary": True}, {"value": "Ada@home.test", "type": "home"}],
     ENTERPRISE: {"department": "Engines", "employeeNumber": "100%", "manager": {"value": "Boss"}}},
    {"userName": "BOB", "active": False, "nickName": "Straße", "name": {"familyName": "LOVELACE"},
     "phoneNumbers": [{"value": "+1", "type": "work", "primary": True}, {"value": "+2", "type": "fax"}],
     "addresses": [{"locality": "London", "country": "GB", "type": "work"}, {"locality": "Ulm", "type": "home"}]},
    {"userName": "x\"y", "displayName": "b\\c", "externalId": "e-1", "profileUrl": "https://acme.test/X",
     "emails": [{"value": "eve@acme.test", "type": "WORK", "display": "ada"}]},
    {"userName": "empty", "title": "", "nickName": "ÄÖ", "emails": [{"value": "äö@acme.test"}],
     ENTERPRISE: {"department": "engines"}},
    {"userName": "nobody"},
]
VALUES = ["ada@acme.test", "E-1", "Ada", "Countess", "Lovelace", "work", "home", "+1", "London", "GB", "Engines",
          "BOB", "Straße", "ÄÖ", "x\"y", "b\\c", "Boss", "User", "100%", "https://acme.test/X", "eve@acme.test"]

headers = {"Authorization": f"Bearer {judged['token']}"}
with httpx2.Client(base_url=judged["base"], headers=headers, timeout=60) as http:
    client = SyncSCIMClient(http)
    client.discover()
    Model = client.get_resource_model("User")
    for person in PEOPLE:
        http.post("/Users", json={"schemas": [CORE]} | person).raise_for_status()
    everybody = [
        Model.model_validate(found, scim_ctx=Context.RESOURCE_QUERY_RESPONSE)
        for found in http.get("/Users").json()["Resources"]
    ]
    VALUES += [one.id for one in everybody]
    refused, some, wrong = 0, 0, 0
    for _ in range(judged["filters"]):
        text = expression(4, lambda: term(VALUES))
        if len(text.encode()) > 4000:
            continue
        try:
            theirs = ScimFilter[Model](text)
            theirs = {one.id for one in everybody if theirs.match(one)}
        except SCIMException:
            theirs = None
        answer = http.post("/Users/.search", json={"filter": text, "attributes": ["id"], "count": 200})
        if answer.status_code == 200:
            ours = {found["id"] for found in answer.json()["Resources"]}
        else:
            ours = None
            assert answer.json().get("scimType") == "invalidFilter", (text, answer.text)
        refused += ours is None
        some += bool(ours) and len(ours) < len(everybody)
        if ours != theirs:
            wrong += 1
            names = lambda ids: ids if ids is None else sorted(one.user_name for one in everybody if one.id in ids)
            if wrong <= 10:
                print(f"seed {seed}: {text}\n  ours {names(ours)}, theirs {names(theirs)}", file=sys.stderr)
    if wrong:
        print(f"{wrong} differences", file=sys.stderr)
        sys.exit(1)
    # Filters that tell nobody from anybody would prove nothing.
    assert some * 5 > judged["filters"] and refused > 0, (some, refused)
    print(f"held: {judged['filters']} filters, {refused} refused by both, {some} found some and not all (seed {seed})")

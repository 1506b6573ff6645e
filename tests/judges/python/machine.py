"""A machine, with authlib: tokens by client credentials, and what is known about them."""

import json
import os

import requests
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata
from joserfc import jwt
from joserfc.jwk import KeySet

# authlib asks for TLS by itself, which loopback has none of.
os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

judged = json.loads(os.environ["PARTYWALL_JUDGED"])
robot, stranger = judged["robot"], judged["stranger"]
issuer, scope = judged["issuer"], "invoices:read"

metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()


def client(of, method, **more):
    return OAuth2Session(
        of["id"], of["secret"], token_endpoint_auth_method=method, scope=scope, **more
    )


def fetch(session):
    return session.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")


def introspect(session, token):
    answer = session.introspect_token(metadata["introspection_endpoint"], token=token)
    answer.raise_for_status()
    return answer.json()


# RFC 8414 asks for https, so the text is read as if it stood there.
as_https = json.loads(json.dumps(metadata).replace("http://127.0.0.1", "https://127.0.0.1"))
AuthorizationServerMetadata(as_https).validate()
print("held: metadata as RFC 8414 has it")

for method in ("client_secret_basic", "client_secret_post"):
    session = client(robot, method)
    token = fetch(session)
    assert token["token_type"] == "Bearer", token
    assert token["expires_in"] > 0, token
    keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())
    decoded = jwt.decode(token["access_token"], keys, algorithms=["ES256"])
    assert decoded.header["typ"] == "at+jwt", decoded.header
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": judged["api"]},
        exp={"essential": True},
        iat={"essential": True},
    ).validate(decoded.claims)
    assert decoded.claims["tid"] == judged["tenant"], decoded.claims
    print(f"held: client credentials by {method}")

    known = introspect(session, token["access_token"])
    assert known["active"] is True, known
    assert (known["client_id"], known["scope"]) == (robot["id"], scope), known
    assert introspect(client(stranger, method), token["access_token"]) == {"active": False}
    assert introspect(session, "nonsense") == {"active": False}
    print(f"held: introspection by {method}")

    session.revoke_token(
        metadata["revocation_endpoint"], token=token["access_token"]
    ).raise_for_status()
    assert introspect(session, token["access_token"]) == {"active": False}
    print(f"held: revocation by {method}")

    try:
        fetch(client({**robot, "secret": "wrong"}, method))
    except OAuthError as refusal:
        assert refusal.error == "invalid_client", refusal
    else:
        raise AssertionError("a wrong secret is let in")
    print(f"held: a wrong secret is refused by {method}")

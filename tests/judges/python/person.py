"""A web application with authlib: a person signs in, and stays signed in."""

import json
import os
import time

import requests
from authlib.common.security import generate_token
from authlib.integrations.base_client.errors import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from browser import Browser
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

os.environ["AUTHLIB_INSECURE_TRANSPORT"] = "1"

judged = json.loads(os.environ["PARTYWALL_JUDGED"])
ada, issuer = judged["ada"], judged["issuer"]
metadata = requests.get(f"{issuer}/.well-known/openid-configuration", timeout=10).json()
keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=10).json())

browser = Browser(issuer)
browser.open(ada["invitation"])
browser.submit(password=ada["password"])
assert browser.page.heading == "Your account", browser.page.heading
print("held: an invitation is accepted with a first password")


def sign_in(client, session, scope="openid email offline_access invoices:read"):
    nonce, verifier = generate_token(), generate_token(48)
    url, state = session.create_authorization_url(
        metadata["authorization_endpoint"], nonce=nonce, code_verifier=verifier, scope=scope
    )
    back = browser.open(url)
    assert back and back.startswith(client["redirectUri"]), back
    token = session.fetch_token(
        metadata["token_endpoint"],
        authorization_response=back,
        code_verifier=verifier,
        state=state,
    )
    claims = jwt.decode(token["id_token"], keys, algorithms=["ES256"]).claims
    jwt.JWTClaimsRegistry(
        iss={"essential": True, "value": issuer},
        aud={"essential": True, "value": client["id"]},
        sub={"essential": True, "value": ada["id"]},
        nonce={"essential": True, "value": nonce},
        exp={"essential": True},
    ).validate(claims)
    return token, back, verifier


def session_of(client, method, secret=None):
    return OAuth2Session(
        client["id"],
        secret or client["secret"],
        redirect_uri=client["redirectUri"],
        token_endpoint_auth_method=method,
        code_challenge_method="S256",
    )


def refused(what, error):
    try:
        what()
    except OAuthError as refusal:
        assert refusal.error == error, refusal
    else:
        raise AssertionError(f"not refused: {error}")


for method in ("client_secret_basic", "client_secret_post"):
    session = session_of(judged["web"], method)
    token, back, verifier = sign_in(judged["web"], session)
    print(f"held: code, PKCE, state, nonce and an ID token that verifies, by {method}")

    info = session.get(metadata["userinfo_endpoint"])
    info.raise_for_status()
    assert (info.json()["sub"], info.json()["email"]) == (ada["id"], ada["email"]), info.json()
    print("held: userinfo")

    first = token["refresh_token"]
    token = session.refresh_token(metadata["token_endpoint"], refresh_token=first)
    assert token["refresh_token"] != first
    print("held: a refresh token turns")

    session.token = token
    refused(
        lambda: session.fetch_token(
            metadata["token_endpoint"], authorization_response=back, code_verifier=verifier
        ),
        "invalid_grant",
    )
    refused(
        lambda: session.refresh_token(
            metadata["token_endpoint"], refresh_token=token["refresh_token"]
        ),
        "invalid_grant",
    )
    print("held: a code that comes twice takes back what it gave")

strict = judged["strict"]
session = session_of(strict, "private_key_jwt", ECKey.import_key(judged["key"]))
session.register_client_auth_method(
    PrivateKeyJWT(metadata["token_endpoint"], headers={"kid": judged["key"]["kid"]}, alg="ES256")
)
token, _, _ = sign_in(strict, session)
assert token["expires_at"] > time.time(), token
token = session.refresh_token(metadata["token_endpoint"], refresh_token=token["refresh_token"])
assert token["access_token"]
print("held: private_key_jwt, at the code and at the refresh")

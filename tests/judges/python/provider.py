"""A SAML identity provider made of pysaml2, as somebody's tenant might run it. Everybody who comes
is Ada."""

import logging
import sys
import tempfile
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT
from saml2.config import IdPConfig
from saml2.metadata import entity_descriptor
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.server import Server
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256

from keys import new_key

logging.disable(logging.CRITICAL)


class Provider:
    def __init__(self, here, folder):
        self.here, self.known = here, []
        self.key, self.certificate, *_ = new_key(folder)
        self.read([])

    def read(self, known):
        """Starts anew, knowing these."""
        config = IdPConfig().load({
            "entityid": "urn:pysaml2",
            "key_file": self.key, "cert_file": self.certificate,
            "service": {"idp": {
                "endpoints": {
                    "single_sign_on_service": [(f"{self.here}/sso", BINDING_HTTP_REDIRECT)]},
                "policy": {"default": {"lifetime": {"minutes": 4}, "attribute_restrictions": None}},
                "want_authn_requests_signed": True,
            }},
            "metadata": {"inline": known},
        })
        self.server = Server(config=config)

    def knows(self, metadata):
        self.known.append(metadata)
        self.read(self.known)

    def metadata(self):
        return str(entity_descriptor(self.server.config))

    def answer(self, query):
        request = self.server.parse_authn_request(
            query["SAMLRequest"], BINDING_HTTP_REDIRECT, relay_state=query["RelayState"],
            sigalg=query["SigAlg"], signature=query["Signature"])
        to = self.server.response_args(request.message, [BINDING_HTTP_POST])
        response = self.server.create_authn_response(
            {"mail": "ada@acme.test", "displayName": "Ada Lovelace"},
            in_response_to=to["in_response_to"], destination=to["destination"],
            sp_entity_id=to["sp_entity_id"],
            name_id=NameID(format=NAMEID_FORMAT_PERSISTENT, text="ada"),
            authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"},
            sign_response=True, sign_assertion=True,
            sign_alg=SIG_RSA_SHA256, digest_alg=DIGEST_SHA256)
        form = self.server.apply_binding(
            BINDING_HTTP_POST, str(response), to["destination"], query["RelayState"],
            response=True)
        return form["data"]


class Handler(BaseHTTPRequestHandler):
    provider = None

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/metadata":
            self.reply(self.provider.metadata(), "application/samlmetadata+xml")
        elif url.path == "/sso":
            query = dict(urllib.parse.parse_qsl(url.query))
            self.reply(self.provider.answer(query), "text/html")
        else:
            self.reply("", "text/html")

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        self.provider.knows(self.rfile.read(length).decode())
        self.reply("", "text/plain")

    def reply(self, body, kind):
        body = body.encode()
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


with tempfile.TemporaryDirectory() as folder:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    here = f"http://127.0.0.1:{server.server_port}"
    Handler.provider = Provider(here, folder)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(here, flush=True)
    # Whoever started it holds its input open.
    sys.stdin.read()

"""PySAML2 and signxml on both sides of us: `produce` signs responses for us to believe, `consume`
judges responses that are given, `read` reads what we send as an identity provider would.

Reads one JSON object from standard input, and writes one. The clock is whoever's started it.
"""

import base64, json, logging, os, sys, tempfile

from lxml import etree
from saml2 import BINDING_HTTP_POST, BINDING_HTTP_REDIRECT, server
from saml2.client import Saml2Client
from saml2.config import IdPConfig, SPConfig
from saml2.saml import NAMEID_FORMAT_PERSISTENT, NameID
from saml2.xmldsig import DIGEST_SHA256, SIG_RSA_SHA256
from signxml import DigestAlgorithm, SignatureConfiguration, SignatureMethod, XMLSigner, XMLVerifier, methods

from keys import new_key

logging.disable(logging.CRITICAL)
EXCLUSIVE = "http://www.w3.org/2001/10/xml-exc-c14n#"
DS = "http://www.w3.org/2000/09/xmldsig#"


def pem(der):
    body = base64.encodebytes(base64.b64decode(der)).decode()
    return f"-----BEGIN CERTIFICATE-----\n{body}-----END CERTIFICATE-----\n"


def sp_metadata(judged):
    return f"""<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{judged['sp']}">
<md:SPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<md:AssertionConsumerService Binding="{BINDING_HTTP_POST}" Location="{judged['acs']}" index="0"/>
</md:SPSSODescriptor></md:EntityDescriptor>"""


def idp_metadata(judged, certificate):
    return f"""<md:EntityDescriptor xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata" entityID="{judged['idp']}">
<md:IDPSSODescriptor protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
<md:KeyDescriptor use="signing"><ds:KeyInfo xmlns:ds="{DS}"><ds:X509Data>
<ds:X509Certificate>{certificate}</ds:X509Certificate></ds:X509Data></ds:KeyInfo></md:KeyDescriptor>
<md:SingleSignOnService Binding="{BINDING_HTTP_REDIRECT}" Location="{judged['sso']}"/>
</md:IDPSSODescriptor></md:EntityDescriptor>"""


def identity_provider(judged, folder, metadata):
    key, certificate, *_ = new_key(folder)
    return server.Server(config=IdPConfig().load({
        "entityid": judged["idp"],
        "key_file": key, "cert_file": certificate,
        "service": {"idp": {
            "endpoints": {"single_sign_on_service": [
                (judged["sso"], BINDING_HTTP_REDIRECT), (judged["sso"], BINDING_HTTP_POST)]},
            "policy": {"default": {"lifetime": {"minutes": 4}, "attribute_restrictions": None}},
            "want_authn_requests_signed": True,
        }},
        "metadata": {"inline": [metadata]},
    }))


def produce(judged, folder):
    idp = identity_provider(judged, folder, sp_metadata(judged))
    with open(idp.config.cert_file) as file:
        certificate = file.read()
    responses = {}
    for name, whole, part in (
        ("pysaml2, response signed", True, False),
        ("pysaml2, assertion signed", False, True),
        ("pysaml2, both signed", True, True),
    ):
        responses[name] = str(idp.create_authn_response(
            {"mail": "alice@acme.example"},
            in_response_to="_request", destination=judged["acs"], sp_entity_id=judged["sp"],
            name_id=NameID(format=NAMEID_FORMAT_PERSISTENT, text="alice"),
            authn={"class_ref": "urn:oasis:names:tc:SAML:2.0:ac:classes:Password"},
            sign_response=whole, sign_assertion=part,
            sign_alg=SIG_RSA_SHA256, digest_alg=DIGEST_SHA256,
        ))
    _, _, private, public = new_key(folder)
    for name, id in (("signxml, assertion signed", "_a"), ("signxml, response signed", "_r")):
        place = f'<ds:Signature xmlns:ds="{DS}" Id="placeholder"/>'
        first, second = (place, "") if id == "_r" else ("", place)
        response = judged["response"].replace("{signature}", first, 1)
        response = response.replace("{assertion}", judged["assertion"].replace("{signature}", second, 1))
        root = etree.fromstring(response)
        element = root if id == "_r" else root.find("{*}Assertion")
        signer = XMLSigner(method=methods.enveloped, c14n_algorithm=EXCLUSIVE)
        signed = signer.sign(element, key=private, cert=public, reference_uri=id, id_attribute="ID")
        if id == "_a":
            root.replace(element, signed)
            signed = root
        responses[name] = etree.tostring(signed).decode()
    return {"responses": responses, "certificates": {"pysaml2": certificate, "signxml": public.decode()}}


def consume(judged, folder):
    metadata = [idp_metadata(judged, certificate) for certificate in judged["certificates"][:1]]
    config = SPConfig().load({
        "entityid": judged["sp"],
        "service": {"sp": {
            "endpoints": {"assertion_consumer_service": [(judged["acs"], BINDING_HTTP_POST)]},
            "want_response_signed": False, "want_assertions_signed": False,
            "want_assertions_or_response_signed": True, "allow_unsolicited": False,
        }},
        "metadata": {"inline": metadata},
    })

    def pysaml2(response):
        client = Saml2Client(config=config)
        encoded = base64.b64encode(response.encode()).decode()
        answer = client.parse_authn_request_response(encoded, BINDING_HTTP_POST, {"_request": "/"})
        return answer.get_subject().text

    def signxml(response):
        expect = SignatureConfiguration(
            signature_methods=frozenset({SignatureMethod.RSA_SHA256}),
            digest_algorithms=frozenset({DigestAlgorithm.SHA256}))
        root = etree.fromstring(response.encode())
        verified = XMLVerifier().verify(
            root, x509_cert=pem(judged["certificates"][0]), id_attribute="ID", expect_config=expect)
        return verified.signed_xml.find(".//{*}NameID").text

    verdicts = {"pysaml2": {}, "signxml": {}}
    for name, response in judged["responses"].items():
        for library, verify in (("pysaml2", pysaml2), ("signxml", signxml)):
            try:
                verdicts[library][name] = verify(response)
            except Exception:
                verdicts[library][name] = None
    return verdicts


def read(judged, folder):
    """As pysaml2's identity provider: our metadata, then our requests, whose signatures must hold."""
    idp = identity_provider(judged, folder, judged["metadata"])
    found = {"acs": idp.metadata.assertion_consumer_service(judged["sp"], BINDING_HTTP_POST)[0]["location"]}
    request = idp.parse_authn_request(judged["post"], BINDING_HTTP_POST)
    found["post"] = [request.message.id, request.message.issuer.text]
    query = judged["redirect"]
    request = idp.parse_authn_request(
        query["SAMLRequest"], BINDING_HTTP_REDIRECT, relay_state=query.get("RelayState"),
        sigalg=query["SigAlg"], signature=query["Signature"])
    found["redirect"] = [request.message.id, request.message.issuer.text]
    try:
        idp.parse_authn_request(judged["broken"], BINDING_HTTP_POST)
        found["broken"] = "accepted"
    except Exception:
        found["broken"] = "refused"
    return found


with tempfile.TemporaryDirectory() as folder:
    ask = {"produce": produce, "consume": consume, "read": read}[sys.argv[1]]
    answer = ask(json.load(sys.stdin), folder)
sys.stdout.write(json.dumps(answer))

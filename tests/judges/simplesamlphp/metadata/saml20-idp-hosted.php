<?php

$metadata[getenv('PARTYWALL_PROVIDER') . '/saml2/idp/metadata.php'] = [
    'host' => '__DEFAULT__',
    'auth' => 'people',
    'privatekey' => 'key.pem',
    'certificate' => 'certificate.pem',
    // Our requests must be signed.
    'validate.authnrequest' => true,
    'redirect.validate' => true,
    'redirect.sign' => true,
    'sign.logout' => true,
    'validate.logout' => true,
    'saml20.sign.response' => getenv('PARTYWALL_SIGNS') !== 'assertion',
    'saml20.sign.assertion' => getenv('PARTYWALL_SIGNS') !== 'response',
    'assertion.encryption' => getenv('PARTYWALL_ENCRYPTS') === 'yes',
    'NameIDFormat' => 'urn:oasis:names:tc:SAML:2.0:nameid-format:persistent',
    'attributes.NameFormat' => 'urn:oasis:names:tc:SAML:2.0:attrname-format:basic',
    'SingleLogoutServiceBinding' => [
        'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect',
        'urn:oasis:names:tc:SAML:2.0:bindings:HTTP-POST',
    ],
    'authproc' => [
        1 => [
            'class' => 'saml:PersistentNameID',
            'attribute' => 'uid',
        ],
    ],
];

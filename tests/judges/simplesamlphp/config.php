<?php

// SimpleSAMLphp as a tenant's identity provider. What differs from test to test comes by the
// environment; all it writes is in a directory of the test's.
$here = getenv('PARTYWALL_HERE') . '/';

$config = [
    'baseurlpath' => getenv('PARTYWALL_PROVIDER') . '/',
    'certdir' => $here,
    'loggingdir' => $here,
    'datadir' => $here,
    'tempdir' => $here,
    'metadatadir' => __DIR__ . '/metadata/',
    'secretsalt' => 'of this test',
    'auth.adminpassword' => bin2hex(random_bytes(16)),
    'timezone' => 'UTC',
    'logging.level' => SimpleSAML\Logger::DEBUG,
    'logging.handler' => 'file',
    'logging.logfile' => 'log',
    'enable.saml20-idp' => true,
    'module.enable' => ['exampleauth' => true, 'core' => true, 'saml' => true],
    'session.cookie.secure' => false,
    'session.cookie.samesite' => null,
    'session.phpsession.savepath' => $here,
    'language.default' => 'en',
    'language.cookie.secure' => false,
    'language.cookie.samesite' => null,
    'production' => true,
    'store.type' => 'phpsession',
    // What we say of ourselves, as we publish it.
    'metadata.sources' => array_merge(
        [['type' => 'flatfile']],
        array_map(
            function ($file) {
                return ['type' => 'xml', 'file' => $file];
            },
            glob($here . 'partywall-*.xml')
        )
    ),
];

<?php

// A key and a certificate of its own, into the directory that is named.
$rsa = ['private_key_bits' => 2048, 'digest_alg' => 'sha256'];
$key = openssl_pkey_new($rsa);
$request = openssl_csr_new(['commonName' => 'A tenant'], $key, $rsa);
$certificate = openssl_csr_sign($request, null, $key, 30, $rsa);
openssl_pkey_export_to_file($key, $argv[1] . '/key.pem') || exit(1);
openssl_x509_export_to_file($certificate, $argv[1] . '/certificate.pem') || exit(1);

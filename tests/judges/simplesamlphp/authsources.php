<?php

$config = [
    'people' => [
        'exampleauth:UserPass',
        'ada:ada-password' => [
            'uid' => ['ada'],
            'mail' => ['ada@acme.example'],
            'displayName' => ['Ada Lovelace'],
            'groups' => ['staff', 'bookkeeping'],
        ],
        'bob:bob-password' => [
            'uid' => ['bob'],
            'mail' => ['bob@acme.example'],
            'displayName' => ['Bob'],
            'groups' => ['board'],
        ],
        'grace:grace-password' => [
            'uid' => ['grace'],
            'mail' => ['grace@elsewhere.example'],
            'displayName' => ['Grace Hopper'],
            'groups' => ['staff'],
        ],
    ],
];

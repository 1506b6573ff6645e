//! A software authenticator, and everything about its answers altered in turn.

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair},
};

use super::*;
use crate::control::tests_support::{account, control};

enum Pair {
    P256(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
}

/// What an authenticator would answer; each part can be spoilt.
pub(crate) struct Authenticator {
    pair: Pair,
    id: Vec<u8>,
    rp: &'static str,
    origin: &'static str,
    handle: String,
    pub(crate) flags: u8,
    count: u32,
}

impl Authenticator {
    pub(crate) fn new(account: &Account) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        Self {
            pair: Pair::P256(pair),
            id: vec![9; 32],
            rp: "id.test",
            origin: "https://id.test",
            handle: account.id.as_str().to_owned(),
            flags: 0b101,
            count: 0,
        }
    }

    fn cose(&self) -> Vec<u8> {
        match &self.pair {
            Pair::P256(pair) => {
                let point = pair.public_key().as_ref();
                let mut cose = vec![0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32];
                cose.extend_from_slice(&point[1..33]);
                cose.extend_from_slice(&[0x22, 0x58, 32]);
                cose.extend_from_slice(&point[33..]);
                cose
            }
            Pair::Ed25519(pair) => {
                let mut cose = vec![0xa4, 1, 1, 3, 0x27, 0x20, 6, 0x21, 0x58, 32];
                cose.extend_from_slice(pair.public_key().as_ref());
                cose
            }
        }
    }

    fn data(&self, attested: bool) -> Vec<u8> {
        let mut data = digest(&SHA256, self.rp.as_bytes()).as_ref().to_vec();
        data.push(self.flags | if attested { 1 << 6 } else { 0 });
        data.extend_from_slice(&self.count.to_be_bytes());
        if attested {
            data.extend_from_slice(&[0; 16]);
            data.extend_from_slice(&u16::try_from(self.id.len()).unwrap().to_be_bytes());
            data.extend_from_slice(&self.id);
            data.extend_from_slice(&self.cose());
        }
        data
    }

    fn client_data(&self, ceremony: &str, options: &Value) -> Vec<u8> {
        let challenge = &options["challenge"];
        json!({
            "type": ceremony, "challenge": challenge, "origin": self.origin, "crossOrigin": false,
        })
        .to_string()
        .into_bytes()
    }

    pub(crate) fn registered(&self, options: &Value) -> String {
        let data = self.data(true);
        let mut object = vec![0xa3, 0x63];
        object.extend_from_slice(b"fmt\x64none\x67attStmt\xa0\x68authData\x58");
        object.push(u8::try_from(data.len()).unwrap());
        object.extend_from_slice(&data);
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key",
            "response": {
                "clientDataJSON": encode(&self.client_data("webauthn.create", options)),
                "attestationObject": encode(&object),
                "transports": ["internal", "made-up"],
            },
        })
        .to_string()
    }

    pub(crate) fn asserted(&self, options: &Value) -> String {
        let (data, client_data) = (self.data(false), self.client_data("webauthn.get", options));
        let message = [&data, digest(&SHA256, &client_data).as_ref()].concat();
        let signature = match &self.pair {
            Pair::P256(pair) => {
                pair.sign(&SystemRandom::new(), &message).unwrap().as_ref().to_vec()
            }
            Pair::Ed25519(pair) => pair.sign(&message).as_ref().to_vec(),
        };
        json!({
            "id": encode(&self.id), "rawId": encode(&self.id), "type": "public-key",
            "response": {
                "clientDataJSON": encode(&client_data),
                "authenticatorData": encode(&data),
                "signature": encode(&signature),
                "userHandle": encode(self.handle.as_bytes()),
            },
        })
        .to_string()
    }
}

fn encode(bytes: &[u8]) -> String {
    Base64UrlUnpadded::encode_string(bytes)
}

async fn register(
    control: &ControlPlane,
    account: &Account,
    authenticator: &Authenticator,
) -> Result<(), PasskeyError> {
    let options = begin_registration(control, account, "browser").await.unwrap();
    let answer = authenticator.registered(&options);
    finish_registration(control, account, "browser", "laptop", &answer).await
}

async fn sign_in(
    control: &ControlPlane,
    authenticator: &Authenticator,
) -> Result<(Account, Proof), PasskeyError> {
    let options = begin_sign_in(control, "browser").await.unwrap();
    finish_sign_in(control, "browser", &authenticator.asserted(&options)).await
}

fn why(result: Result<(Account, Proof), PasskeyError>) -> &'static str {
    match result {
        Err(PasskeyError::Refused { why }) => why,
        Err(other) => panic!("{other}"),
        Ok(_) => "",
    }
}

#[tokio::test]
async fn i15_a_passkey_signs_its_account_in_and_says_whether_it_knew_who() {
    let dir = tempfile::tempdir().unwrap();
    let control = control(dir.path()).await;
    let ada = account(&control, "ada@x.test").await;
    let mut authenticator = Authenticator::new(&ada);
    register(&control, &ada, &authenticator).await.unwrap();
    let (signed_in, proof) = sign_in(&control, &authenticator).await.unwrap();
    assert_eq!(signed_in.id, ada.id);
    assert_eq!(proof.acr(), "phr");
    authenticator.flags = 1;
    let (_, proof) = sign_in(&control, &authenticator).await.unwrap();
    assert!(!proof.is_multi_factor(), "somebody was there, nobody knows who");

    let kept = passkeys::of_account(control.inner.db.reader(), &ada.id).await.unwrap();
    assert_eq!(kept[0].transports, ["internal"]);
    let again = register(&control, &ada, &authenticator).await;
    assert!(matches!(again, Err(PasskeyError::Refused { why: "the credential is known already" })));

    let pair = Ed25519KeyPair::generate().unwrap();
    let other = Authenticator { pair: Pair::Ed25519(pair), id: vec![8; 16], ..authenticator };
    register(&control, &ada, &other).await.unwrap();
    assert_eq!(sign_in(&control, &other).await.unwrap().0.id, ada.id);
}

#[tokio::test]
async fn o21_every_part_of_an_answer_is_checked() {
    let dir = tempfile::tempdir().unwrap();
    let control = control(dir.path()).await;
    let ada = account(&control, "ada@x.test").await;
    let eve = account(&control, "eve@x.test").await;
    let mut authenticator = Authenticator::new(&ada);
    register(&control, &ada, &authenticator).await.unwrap();
    type Spoil = fn(&mut Authenticator);
    let spoils: [(&str, Spoil); 4] = [
        ("another relying party", |a| a.rp = "evil.test"),
        ("another origin", |a| a.origin = "https://id.test.evil.test"),
        ("nobody was there", |a| a.flags = 0b100),
        ("unreadable authenticator data", |a| a.flags = 0b1_0001),
    ];
    for (reason, spoil) in spoils {
        let mut spoilt = Authenticator {
            pair: Pair::P256(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap()),
            ..Authenticator::new(&ada)
        };
        std::mem::swap(&mut spoilt.pair, &mut authenticator.pair);
        spoil(&mut spoilt);
        assert_eq!(why(sign_in(&control, &spoilt).await), reason);
        std::mem::swap(&mut spoilt.pair, &mut authenticator.pair);
    }
    authenticator.handle = eve.id.as_str().to_owned();
    assert_eq!(why(sign_in(&control, &authenticator).await), "the credential of another account");
    authenticator.handle = ada.id.as_str().to_owned();
    let stranger = Authenticator::new(&ada);
    assert_eq!(why(sign_in(&control, &stranger).await), "a wrong signature");
    let unknown = Authenticator { id: vec![7; 32], ..Authenticator::new(&ada) };
    assert_eq!(why(sign_in(&control, &unknown).await), "an unknown credential");
    // The control: as it is, it signs in.
    assert_eq!(why(sign_in(&control, &authenticator).await), "");
}

#[tokio::test]
async fn o22_a_challenge_is_one_browsers_for_one_ceremony_once() {
    let dir = tempfile::tempdir().unwrap();
    let control = control(dir.path()).await;
    let ada = account(&control, "ada@x.test").await;
    let eve = account(&control, "eve@x.test").await;
    let authenticator = Authenticator::new(&ada);
    register(&control, &ada, &authenticator).await.unwrap();
    const NOT_OURS: &str = "a challenge that is not this browser's for this";

    let options = begin_sign_in(&control, "browser").await.unwrap();
    let answer = authenticator.asserted(&options);
    assert_eq!(why(finish_sign_in(&control, "another", &answer).await), NOT_OURS);
    let options = begin_sign_in(&control, "browser").await.unwrap();
    let answer = authenticator.asserted(&options);
    assert_eq!(why(finish_sign_in(&control, "browser", &answer).await), "");
    assert_eq!(why(finish_sign_in(&control, "browser", &answer).await), NOT_OURS, "again");

    let options = begin_registration(&control, &eve, "browser").await.unwrap();
    let answer = authenticator.asserted(&options);
    assert_eq!(why(finish_sign_in(&control, "browser", &answer).await), NOT_OURS);
    let options = begin_registration(&control, &eve, "browser").await.unwrap();
    let answer = authenticator.registered(&options);
    let planted = finish_registration(&control, &ada, "browser", "x", &answer).await;
    assert!(matches!(planted, Err(PasskeyError::Refused { why: NOT_OURS })));
    // Of another ceremony than it says.
    let options = begin_sign_in(&control, "browser").await.unwrap();
    let client_data = authenticator.client_data("webauthn.create", &options);
    let checked =
        check_client_data(&control, &client_data, "webauthn.get", Ceremony::SignIn, "browser");
    assert!(matches!(checked.await, Err(PasskeyError::Refused { why: "another ceremony" })));
}

#[tokio::test]
async fn b02_a_count_that_does_not_rise_is_a_copy() {
    let dir = tempfile::tempdir().unwrap();
    let control = control(dir.path()).await;
    let ada = account(&control, "ada@x.test").await;
    let mut authenticator = Authenticator::new(&ada);
    authenticator.count = 5;
    register(&control, &ada, &authenticator).await.unwrap();
    assert_eq!(why(sign_in(&control, &authenticator).await), "a count that did not rise");
    authenticator.count = 6;
    assert_eq!(why(sign_in(&control, &authenticator).await), "");
    authenticator.count = 0;
    assert_eq!(why(sign_in(&control, &authenticator).await), "a count that did not rise");
}

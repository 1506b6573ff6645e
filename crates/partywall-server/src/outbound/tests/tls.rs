//! Certificates, as servers show them.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::aws_lc_rs,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::*;

#[tokio::test]
async fn r09_a_server_shows_a_certificate_of_its_own_that_is_good_today() {
    let dir = tempfile::tempdir().unwrap();
    if Command::new("openssl").arg("version").output().is_err() {
        assert!(std::env::var_os("CI").is_none(), "openssl makes the certificates");
        eprintln!("SKIPPED: openssl, which makes the certificates, is not here");
        return;
    }
    let ours = Authority::new(dir.path(), "ours");
    let strangers = Authority::new(dir.path(), "strangers");
    let good = ours.certify("good", "idp.test", 30);
    // Good for no day: until this second.
    let expired = ours.certify("expired", "idp.test", 0);
    let of_another = ours.certify("another", "other.test", 30);
    let by_strangers = strangers.certify("unknown", "idp.test", 30);
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    let root = std::fs::read(dir.path().join("ours.pem")).unwrap();
    let mut outbound = Outbound::new(true);
    outbound.given.names = Some(Zone::new(&[("idp.test", &[&["127.0.0.1"]])]));
    outbound.given.roots = vec![reqwest::Certificate::from_pem(&root).unwrap()];
    for (shown, refused) in [
        (&expired, Some("expired")),
        (&of_another, Some("not valid for name")),
        (&by_strangers, Some("UnknownIssuer")),
        (&good, None),
    ] {
        let (port, serving) = serve(shown).await;
        // Every try on a line of its own: failures in a row would rest.
        let line = Line::of(&"acme".parse().unwrap(), &port.to_string());
        let answer = outbound.get(&line, &format!("https://idp.test:{port}/"), Media::Json).await;
        match refused {
            None => assert_eq!(answer.unwrap(), b"{}"),
            Some(refused) => {
                let error = answer.unwrap_err().to_string();
                assert!(error.contains(refused), "{error}");
            }
        }
        serving.abort();
    }
}

/// A directory with an authority's key and certificate.
struct Authority<'d> {
    dir: &'d Path,
    name: &'static str,
}

/// Where a server's key and certificate are.
type Certified = (std::path::PathBuf, std::path::PathBuf);

const KEY: &[&str] = &["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];

impl<'d> Authority<'d> {
    fn new(dir: &'d Path, name: &'static str) -> Self {
        let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
        let subject = format!("/CN={name}");
        let rest = ["-keyout", &key, "-out", &pem, "-subj", &subject, "-days", "30"];
        openssl(dir, &[&["req", "-x509"], KEY, &rest].concat());
        Self { dir, name }
    }

    fn certify(&self, name: &str, host: &str, days: u32) -> Certified {
        let [key, request, pem] = ["key", "csr", "pem"].map(|kind| format!("{name}.{kind}"));
        let san = format!("subjectAltName=DNS:{host}");
        let rest = ["-keyout", &key, "-out", &request, "-subj", "/CN=x", "-addext", &san];
        openssl(self.dir, &[&["req"], KEY, &rest].concat());
        let (ca, ca_key) = (format!("{}.pem", self.name), format!("{}.key", self.name));
        let days = days.to_string();
        let signed = ["x509", "-req", "-in", &request, "-CA", &ca, "-CAkey", &ca_key];
        let rest = ["-copy_extensions", "copy", "-days", &days, "-out", &pem];
        openssl(self.dir, &[&signed[..], &rest].concat());
        (self.dir.join(key), self.dir.join(pem))
    }
}

fn openssl(dir: &Path, arguments: &[&str]) {
    let ran =
        Command::new("openssl").current_dir(dir).args(arguments).stdin(Stdio::null()).output();
    let ran = ran.unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
}

async fn serve((key, certificate): &Certified) -> (u16, JoinHandle<()>) {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let certificate = CertificateDer::from_pem_file(certificate).unwrap();
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate], PrivateKeyDer::from_pem_file(key).unwrap())
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let _ = stream.read(&mut [0; 4096]).await;
            let _ = stream.write_all(&ok("application/json", b"{}")).await;
        }
    });
    (port, serving)
}

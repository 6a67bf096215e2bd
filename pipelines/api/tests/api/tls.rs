//! TLS.

use std::path::Path;
use std::sync::Arc;

use headsup_api::{Limits, Stop, Tls, router, serve};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::memory::Memory;
use super::server::{Answer, LONG, options};

/// A folder with `cert.pem` and `key.pem`, and the certificate.
fn pair() -> (TempDir, CertificateDer<'static>) {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("cert.pem"), made.cert.pem()).unwrap();
    std::fs::write(folder.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
    (folder, made.cert.der().clone())
}

#[tokio::test]
async fn requests_are_answered_over_tls_only() {
    let (folder, cert) = pair();
    let tls = Tls::read(&folder.path().join("cert.pem"), &folder.path().join("key.pem")).unwrap();
    let (options, token) = options();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = router(Arc::new(Memory::new()), options);
    tokio::spawn(serve(listener, routes, Limits::default(), Some(tls), Stop::default()));

    let mut roots = RootCertStore::empty();
    roots.add(cert).unwrap();
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = TlsConnector::from(Arc::new(config));
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();
    let request = format!("GET /v1/scores HTTP/1.1\r\nHost: api\r\nAuthorization: Bearer {token}\r\n\r\n");
    for _ in 0..2 {
        stream.write_all(request.as_bytes()).await.unwrap();
        Answer::read(&mut stream).await.is_ok();
    }

    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(request.as_bytes()).await.unwrap();
    let mut told = Vec::new();
    let _ = timeout(LONG, plain.read_to_end(&mut told)).await.unwrap();
    assert!(!told.starts_with(b"HTTP"));
}

#[test]
fn files_that_are_no_pair_are_told() {
    let (one, _) = pair();
    let (other, _) = pair();
    let (cert, key) = (one.path().join("cert.pem"), one.path().join("key.pem"));
    let told = |cert: &Path, key: &Path| Tls::read(cert, key).err().unwrap().to_string();
    assert!(told(&cert, &other.path().join("key.pem")).contains("see that the key is the certificate's"));
    assert!(told(&key, &key).contains("it has to be a PEM file of certificates"));
    assert!(told(&cert, &cert).contains("it has to be a PEM file of a private key"));
    assert!(told(&one.path().join("none"), &key).contains("none"));
}

//! The command, and a TLS handshake with what it wrote.

#![allow(clippy::unwrap_used)]

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection};
use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use test_case::test_case;

fn certs(out: &Path, more: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringfence-certs"))
        .arg("--out")
        .arg(out)
        .args([
            "--service",
            "hook",
            "--namespace",
            "system",
            "--address",
            "127.0.0.1",
        ])
        .args(more)
        .output()
        .unwrap()
}

fn bundle(output: &Output) -> Vec<u8> {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{stderr}");
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    BASE64_STANDARD.decode(text.trim()).unwrap()
}

/// What a client that trusts `ca` says to the folder's pair when it asks for `name`.
fn handshake(folder: &Path, ca: &[u8], name: &'static str) -> Result<Vec<u8>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let chain = CertificateDer::pem_file_iter(folder.join("tls.crt")).unwrap();
    let chain = chain.collect::<Result<Vec<_>, _>>().unwrap();
    let key = PrivateKeyDer::from_pem_file(folder.join("tls.key")).unwrap();
    let server = ServerConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(ca).map(Result::unwrap));
    let client = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(name).unwrap();
    let mut client = ClientConnection::new(Arc::new(client), name)?;
    let mut server = ServerConnection::new(Arc::new(server))?;
    client.writer().write_all(b"hello").unwrap();
    let mut wire = Vec::new();
    // A handshake takes two round trips at most.
    for _ in 0..4 {
        wire.clear();
        client.write_tls(&mut wire).unwrap();
        server.read_tls(&mut wire.as_slice()).unwrap();
        server.process_new_packets()?;
        wire.clear();
        server.write_tls(&mut wire).unwrap();
        client.read_tls(&mut wire.as_slice()).unwrap();
        client.process_new_packets()?;
    }
    let mut heard = [0; 5];
    server.reader().read_exact(&mut heard).unwrap();
    Ok(heard.to_vec())
}

#[test_case("hook"; "the Service")]
#[test_case("hook.system.svc"; "what the API server asks for")]
#[test_case("hook.system.svc.cluster.local"; "the full name")]
#[test_case("127.0.0.1"; "an address")]
fn a_client_with_the_bundle_talks_to_the_pair(name: &'static str) {
    let folder = tempfile::tempdir().unwrap();
    let ca = bundle(&certs(folder.path(), &[]));
    assert_eq!(handshake(folder.path(), &ca, name).unwrap(), b"hello");
    let error = handshake(folder.path(), &ca, "elsewhere.svc").unwrap_err();
    assert!(error.to_string().contains("not valid for"), "{error}");
}

#[test]
fn keys_are_private_and_nothing_else_is_left() {
    let folder = tempfile::tempdir().unwrap();
    bundle(&certs(folder.path(), &[]));
    let mut found: Vec<(String, u32)> = fs::read_dir(folder.path())
        .unwrap()
        .map(Result::unwrap)
        .map(|e| {
            let mode = e.metadata().unwrap().permissions().mode() & 0o777;
            (e.file_name().into_string().unwrap(), mode)
        })
        .collect();
    found.sort();
    let wanted = [
        ("ca.crt", 0o644),
        ("ca.key", 0o600),
        ("tls.crt", 0o644),
        ("tls.key", 0o600),
    ];
    assert_eq!(found, wanted.map(|(name, mode)| (name.to_owned(), mode)));
}

#[test]
fn again_keeps_and_force_renews_with_the_same_ca() {
    let folder = tempfile::tempdir().unwrap();
    let key = folder.path().join("tls.key");
    let first = bundle(&certs(folder.path(), &[]));
    let kept = fs::read(&key).unwrap();
    assert_eq!(bundle(&certs(folder.path(), &[])), first);
    assert_eq!(fs::read(&key).unwrap(), kept);

    let refused = certs(folder.path(), &["--address", "192.0.2.7"]);
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && refused.stdout.is_empty());
    assert!(
        said.contains("does not cover \"192.0.2.7\"") && said.contains("--force"),
        "{said}"
    );
    assert_eq!(fs::read(&key).unwrap(), kept);

    let forced = bundle(&certs(
        folder.path(),
        &["--address", "192.0.2.7", "--force"],
    ));
    assert_eq!(forced, first);
    assert_ne!(fs::read(&key).unwrap(), kept);
    handshake(folder.path(), &first, "192.0.2.7").unwrap();
}

#[test_case(&["--service", "Hook"], "service: found \"Hook\""; "no name")]
#[test_case(&["--days", "0"], "--days"; "no days")]
#[test_case(&["--address", "localhost"], "--address"; "no address")]
fn says_what_is_wrong(more: &[&str], said: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut arguments = vec!["--out", folder.path().to_str().unwrap()];
    arguments.extend(more);
    let output = Command::new(env!("CARGO_BIN_EXE_ringfence-certs"))
        .args(arguments)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && text.contains(said), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

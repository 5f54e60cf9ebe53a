//! A certificate authority for one control plane, and the keys that its programs want.

use anyhow::{Context, Result};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The files, all PEM. They live in the run's private folder and die with it.
#[derive(Debug)]
pub struct Certificates {
    /// What clients trust.
    pub ca: PathBuf,
    /// The same in DER.
    pub ca_der: Vec<u8>,
    /// The API server's serving certificate.
    pub server: PathBuf,
    /// Its key.
    pub server_key: PathBuf,
    /// Signs service account tokens.
    pub accounts_key: PathBuf,
    /// Verifies them.
    pub accounts_public: PathBuf,
}

impl Certificates {
    /// Makes everything anew, for an API server that is reached by `addresses`.
    pub fn create(folder: &Path, addresses: &[IpAddr]) -> Result<Self> {
        let authority_key = KeyPair::generate().context("making the authority's key")?;
        let mut authority = named("ringfence-e2e")?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority_certificate = authority.self_signed(&authority_key)?;
        let issuer = Issuer::new(authority, authority_key);

        let server_key = KeyPair::generate().context("making the API server's key")?;
        let names = addresses
            .iter()
            .map(ToString::to_string)
            .chain(["localhost", "kubernetes", "kubernetes.default.svc"].map(String::from));
        let mut server = CertificateParams::new(names.collect::<Vec<_>>())?;
        server
            .distinguished_name
            .push(DnType::CommonName, "kube-apiserver");
        let server_certificate = server.signed_by(&server_key, &issuer)?;

        let accounts_key = KeyPair::generate().context("making the service account key")?;
        let write = |name: &str, text: String| -> Result<PathBuf> {
            let path = folder.join(name);
            fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
            Ok(path)
        };
        Ok(Self {
            ca: write("ca.pem", authority_certificate.pem())?,
            ca_der: authority_certificate.der().to_vec(),
            server: write("server.pem", server_certificate.pem())?,
            server_key: write("server-key.pem", server_key.serialize_pem())?,
            accounts_key: write("accounts-key.pem", accounts_key.serialize_pem())?,
            accounts_public: write("accounts-public.pem", accounts_key.public_key_pem())?,
        })
    }
}

fn named(name: &str) -> Result<CertificateParams> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.push(DnType::CommonName, name);
    Ok(params)
}

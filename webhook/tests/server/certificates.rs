//! Certificates for tests, and the folder that a mounted Secret looks like.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::CertificateDer;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

/// A CA.
pub struct Ca {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// Chain and key in PEM.
#[derive(Clone)]
pub struct Pair {
    pub cert: String,
    pub key: String,
    pub der: CertificateDer<'static>,
}

impl Ca {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).unwrap(),
        }
    }

    pub fn der(&self) -> CertificateDer<'static> {
        self.issuer.der().clone()
    }

    pub fn pem(&self) -> String {
        self.issuer.pem()
    }

    pub fn leaf(&self) -> Pair {
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        Pair {
            cert: cert.pem(),
            key: key.serialize_pem(),
            der: cert.der().clone(),
        }
    }
}

/// A folder whose files are links through `..data`, which is swapped as a whole.
pub struct Secret {
    pub folder: PathBuf,
    versions: usize,
}

impl Secret {
    pub fn new(folder: &Path, pair: &Pair) -> Self {
        fs::create_dir_all(folder).unwrap();
        let mut secret = Self {
            folder: folder.to_owned(),
            versions: 0,
        };
        secret.put(pair);
        for file in ["tls.crt", "tls.key"] {
            symlink(Path::new("..data").join(file), folder.join(file)).unwrap();
        }
        secret
    }

    /// As the kubelet does it: a new folder, and one rename.
    pub fn put(&mut self, pair: &Pair) {
        self.versions += 1;
        let version = format!("..version_{}", self.versions);
        fs::create_dir(self.folder.join(&version)).unwrap();
        fs::write(self.folder.join(&version).join("tls.crt"), &pair.cert).unwrap();
        fs::write(self.folder.join(&version).join("tls.key"), &pair.key).unwrap();
        symlink(&version, self.folder.join("..data_tmp")).unwrap();
        fs::rename(self.folder.join("..data_tmp"), self.folder.join("..data")).unwrap();
    }
}

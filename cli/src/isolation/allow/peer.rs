//! Who is meant.

use crate::isolation::isolate::check_namespace;
use anyhow::{Result, bail};
use ipnet::IpNet;
use ringfence_api::{Cidr, Peer, ServiceRef};
use std::net::IpAddr;

/// One end of a connection, as people write it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Whom {
    /// `shop`
    Namespace(String),
    /// `service/shop/web`
    Service(ServiceRef),
    /// `10.1.0.1` or `10.1.0.0/24`
    Addresses(IpNet),
}

impl Whom {
    /// Reads it.
    ///
    /// # Errors
    /// What was found and what to write.
    pub fn parse(text: &str) -> Result<Self> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Addresses(address.into()));
        }
        if let Ok(range) = text.parse::<IpNet>() {
            if range.trunc() != range {
                bail!(
                    "found {text}; bits are set behind the prefix: write {} or {}",
                    range.trunc(),
                    range.addr()
                );
            }
            return Ok(Self::Addresses(range));
        }
        let parts: Vec<&str> = text.split('/').collect();
        match parts.as_slice() {
            [namespace] => {
                check_namespace("namespace", namespace)?;
                Ok(Self::Namespace((*namespace).to_owned()))
            }
            ["service" | "svc", namespace, name] => {
                check_namespace("namespace", namespace)?;
                Ok(Self::Service(ServiceRef {
                    namespace: (*namespace).to_owned(),
                    name: (*name).to_owned(),
                }))
            }
            _ => bail!(
                "found {text:?}; write a namespace, service/NAMESPACE/NAME, an address or a CIDR"
            ),
        }
    }

    /// The peer of a rule.
    ///
    /// # Errors
    /// An `except` that is none, or of something that has none.
    pub fn peer(self, except: &[String]) -> Result<Peer> {
        let mut peer = Peer::default();
        match self {
            Self::Addresses(range) => {
                for text in except {
                    let inside = text
                        .parse::<IpNet>()
                        .is_ok_and(|hole| range.contains(&hole));
                    if !inside {
                        bail!("--except: found {text:?}; write a CIDR inside of {range}");
                    }
                }
                peer.cidr = Some(Cidr {
                    cidr: range.to_string(),
                    except: except.to_vec(),
                });
                return Ok(peer);
            }
            Self::Namespace(name) => peer.namespace = Some(name),
            Self::Service(service) => peer.service = Some(service),
        }
        if let Some(text) = except.first() {
            bail!("--except {text}: only a CIDR has exceptions");
        }
        Ok(peer)
    }
}

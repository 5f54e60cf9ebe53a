//! Asks the kernel whether an address is in a set, without starting a program: some
//! microseconds, so that asking does not disturb what is measured.

use crate::fabric::Netns;
use anyhow::{Context, Result, bail, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

/// `NFNL_SUBSYS_IPSET << 8 | IPSET_CMD_TEST`
const TEST: u16 = 0x060b;
/// `NLM_F_REQUEST | NLM_F_ACK`
const FLAGS: u16 = 0x1 | 0x4;
/// `NLMSG_ERROR`: also an acknowledgement, with code 0.
const ANSWER: u16 = 2;
/// `IPSET_PROTOCOL`
const PROTOCOL: u8 = 7;
/// `IPSET_ERR_EXIST`: the address is not in the set.
const NOT_IN: i32 = -4103;
/// `NLA_F_NESTED` and `NLA_F_NET_BYTEORDER`
const NESTED: u16 = 0x8000;
const BIG_ENDIAN: u16 = 0x4000;

/// The sets of one namespace.
#[derive(Debug)]
pub struct Sets {
    fd: OwnedFd,
}

// === impl Sets ===

impl Sets {
    /// A socket in `netns`.
    pub fn open(netns: &Netns) -> Result<Self> {
        let fd = netns.run(|| {
            let protocol = SockProtocol::NetlinkNetFilter;
            socket(
                AddressFamily::Netlink,
                SockType::Raw,
                SockFlag::SOCK_CLOEXEC,
                protocol,
            )
            .context("opening a netlink socket")
        })?;
        Ok(Self { fd })
    }

    /// Whether `address` is in the set.
    ///
    /// # Errors
    /// When there is no such set, or it is not of addresses.
    pub fn contains(&self, set: &str, address: Ipv4Addr) -> Result<bool> {
        let question = question(set, address)?;
        let fd = self.fd.as_raw_fd();
        sendto(fd, &question, &NetlinkAddr::new(0, 0), MsgFlags::empty())
            .context("asking for a set")?;
        let mut buffer = [0; 512];
        let length = recv(fd, &mut buffer, MsgFlags::empty()).context("waiting for a set")?;
        match code(&buffer[..length]) {
            Some(0) => Ok(true),
            Some(NOT_IN) => Ok(false),
            Some(code) => bail!("ipset test {set} {address}: {}", Errno::from_raw(-code)),
            None => bail!("ipset test {set} {address}: no answer that could be read"),
        }
    }
}

fn question(set: &str, address: Ipv4Addr) -> Result<Vec<u8>> {
    ensure!(set.len() < 32, "{set:?} is no name of a set");
    let ip = attribute(1 | BIG_ENDIAN, &address.octets());
    let data = attribute(1 | NESTED, &ip);
    // nfgenmsg: family, version, resource id
    let mut body = vec![2, 0, 0, 0];
    body.extend(attribute(1, &[PROTOCOL]));
    body.extend(attribute(2, &[set.as_bytes(), &[0]].concat()));
    body.extend(attribute(7 | NESTED, &data));
    let length = u32::try_from(16 + body.len())?;
    let mut message = length.to_ne_bytes().to_vec();
    message.extend(TEST.to_ne_bytes());
    message.extend(FLAGS.to_ne_bytes());
    message.extend([0; 8]);
    message.extend(body);
    Ok(message)
}

/// Length, type, value, filled up to a multiple of four. Values here are short.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    let mut bytes = length.to_ne_bytes().to_vec();
    bytes.extend(kind.to_ne_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// The code of an acknowledgement.
fn code(message: &[u8]) -> Option<i32> {
    let kind = u16::from_ne_bytes(message.get(4..6)?.try_into().ok()?);
    let code = i32::from_ne_bytes(message.get(16..20)?.try_into().ok()?);
    (kind == ANSWER).then_some(code)
}

/// Which sets hold which IPv4 addresses, from `ipset save`. Sets of pairs and of networks
/// are left out.
pub fn sets_by_address(save: &str) -> BTreeMap<Ipv4Addr, Vec<String>> {
    let mut sets: BTreeMap<Ipv4Addr, Vec<String>> = BTreeMap::new();
    for line in save.lines() {
        let mut words = line.split_whitespace();
        if let (Some("add"), Some(set), Some(element)) = (words.next(), words.next(), words.next())
            && let Ok(address) = element.parse()
        {
            sets.entry(address).or_default().push(set.to_owned());
        }
    }
    sets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_of_address_sets() {
        let save = "create A hash:ip family inet\nadd A 10.0.0.1\nadd B 10.0.0.1 timeout 0\nadd C 10.0.0.0/8\nadd D 10.0.0.1,10.0.0.1\n";
        let sets = sets_by_address(save);
        assert_eq!(sets.len(), 1);
        assert_eq!(sets[&Ipv4Addr::new(10, 0, 0, 1)], ["A", "B"]);
    }

    #[test]
    fn attributes_are_aligned() {
        assert_eq!(attribute(1, &[7]).len(), 8);
        let question = question("RF-x", Ipv4Addr::LOCALHOST).unwrap();
        assert_eq!(question.len() % 4, 0);
        assert_eq!(question[0], u8::try_from(question.len()).unwrap());
    }
}

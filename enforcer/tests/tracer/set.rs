//! Sets.

use ipnet::IpNet;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// The sets of one kernel, by name.
pub(crate) type Sets = BTreeMap<String, Set>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set {
    pub kind: String,
    pub v4: bool,
    pub maxelem: usize,
    pub members: BTreeSet<Member>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Member {
    Ip(IpAddr),
    Net(IpNet),
    Port(IpAddr, String, u16),
    Iface(IpNet, String),
}

fn net(text: &str) -> Result<IpNet, String> {
    text.parse::<IpNet>()
        .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("no network: {text}"))
}

impl Set {
    fn member(&self, text: &str) -> Result<Member, String> {
        let ip = |text: &str| {
            text.parse::<IpAddr>()
                .map_err(|_| format!("no address: {text}"))
        };
        let member = match self.kind.as_str() {
            "hash:ip" => Member::Ip(ip(text)?),
            "hash:net" => {
                let net = net(text)?;
                if net.prefix_len() == 0 {
                    return Err("hash:net refuses length 0".into());
                }
                Member::Net(net)
            }
            "hash:ip,port" => {
                let (address, rest) = text.split_once(',').ok_or("no comma")?;
                let (protocol, port) = rest.split_once(':').ok_or("no protocol")?;
                let port = port.parse().map_err(|_| "no port")?;
                if !["tcp", "udp", "sctp"].contains(&protocol) {
                    return Err(format!("protocol {protocol}"));
                }
                Member::Port(ip(address)?, protocol.into(), port)
            }
            "hash:net,iface" => {
                let (address, iface) = text.split_once(',').ok_or("no comma")?;
                Member::Iface(net(address)?, iface.into())
            }
            other => return Err(format!("unknown set type {other}")),
        };
        let v4 = match &member {
            Member::Ip(ip) | Member::Port(ip, ..) => ip.is_ipv4(),
            Member::Net(net) | Member::Iface(net, _) => net.addr().is_ipv4(),
        };
        if v4 == self.v4 {
            Ok(member)
        } else {
            Err(format!("wrong family: {text}"))
        }
    }
}

/// Runs one line of `ipset restore`; `used` tells whether a rule refers to a set.
pub(crate) fn restore_line(
    sets: &mut Sets,
    line: &str,
    used: impl Fn(&str) -> bool,
) -> Result<(), String> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        [] => Ok(()),
        [first, ..] if first.starts_with('#') => Ok(()),
        [
            "create",
            name,
            kind,
            "family",
            family,
            "hashsize",
            _,
            "maxelem",
            maxelem,
        ] => {
            if name.len() > 31 {
                return Err(format!("name too long: {name}"));
            }
            let set = Set {
                kind: (*kind).into(),
                v4: *family == "inet",
                maxelem: maxelem.parse().map_err(|_| "maxelem")?,
                members: BTreeSet::new(),
            };
            match sets.insert((*name).into(), set) {
                None => Ok(()),
                Some(_) => Err(format!("{name} exists already")),
            }
        }
        ["add", name, member] => {
            let set = sets
                .get_mut(*name)
                .ok_or_else(|| format!("add: no set {name}"))?;
            let member = set.member(member)?;
            if set.members.len() >= set.maxelem {
                return Err(format!("{name} is full"));
            }
            if set.members.insert(member) {
                Ok(())
            } else {
                Err("added twice".into())
            }
        }
        ["del", name, member] => {
            let set = sets
                .get_mut(*name)
                .ok_or_else(|| format!("del: no set {name}"))?;
            let member = set.member(member)?;
            if set.members.remove(&member) {
                Ok(())
            } else {
                Err("not a member".into())
            }
        }
        ["swap", a, b] => {
            let (Some(x), Some(y)) = (sets.get(*a), sets.get(*b)) else {
                return Err("swap: no such set".into());
            };
            if (&x.kind, x.v4) != (&y.kind, y.v4) {
                return Err("swap: types differ".into());
            }
            let (x, y) = (x.clone(), y.clone());
            sets.insert((*a).into(), y);
            sets.insert((*b).into(), x);
            Ok(())
        }
        ["destroy", name] => {
            if used(name) {
                return Err(format!("{name} is in use"));
            }
            sets.remove(*name)
                .map(|_| ())
                .ok_or_else(|| format!("destroy: no set {name}"))
        }
        _ => Err(format!("not understood: {line}")),
    }
}

/// What `ipset save` prints.
pub(crate) fn save(sets: &Sets) -> String {
    let mut out = String::new();
    for (name, set) in sets {
        let family = if set.v4 { "inet" } else { "inet6" };
        out += &format!(
            "create {name} {} family {family} hashsize 1024 maxelem {} bucketsize 12 initval 0x1\n",
            set.kind, set.maxelem
        );
        let net = |net: &IpNet| {
            if net.prefix_len() == net.max_prefix_len() {
                net.addr().to_string()
            } else {
                net.to_string()
            }
        };
        for member in &set.members {
            let text = match member {
                Member::Ip(ip) => ip.to_string(),
                Member::Net(n) => net(n),
                Member::Port(ip, protocol, port) => format!("{ip},{protocol}:{port}"),
                Member::Iface(n, iface) => format!("{},{iface}", net(n)),
            };
            out += &format!("add {name} {text}\n");
        }
    }
    out
}

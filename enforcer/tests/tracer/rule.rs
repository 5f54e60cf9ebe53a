//! Rules: the part of iptables' language that is understood here.

use super::packet::{Packet, Segment, Transport};
use super::set::{Member, Sets};
use ipnet::IpNet;
use std::net::IpAddr;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// As `iptables-save` prints it, without `-A CHAIN`.
    pub text: String,
    matches: Vec<(bool, Match)>,
    pub target: Target,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Match {
    Src(IpNet),
    Dst(IpNet),
    Protocol(String),
    SrcPorts(Vec<(u16, u16)>),
    DstPorts(Vec<(u16, u16)>),
    SynOnly,
    Reset,
    CtState(Vec<String>),
    Mark(u32, u32),
    ConnMark(u32, u32),
    Set(String, Vec<String>),
    Bridged,
    PktType(String),
    SrcLocal,
    Icmp6(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// No `-j`: only counts.
    None,
    Jump(String),
    Goto(String),
    Return,
    Accept,
    Drop,
    Reject(String),
    Mark(u32, u32),
}

/// Splits into words; `"` groups.
fn words(text: &str) -> Result<Vec<String>, String> {
    let mut all = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let (word, tail) = if let Some(quoted) = rest.strip_prefix('"') {
            quoted.split_once('"').ok_or("quote not closed")?
        } else {
            rest.split_once(' ').unwrap_or((rest, ""))
        };
        all.push(word.to_owned());
        rest = tail.trim_start();
    }
    Ok(all)
}

fn number(text: &str) -> Result<u32, String> {
    match text.strip_prefix("0x") {
        Some(hex) => u32::from_str_radix(hex, 16),
        None => text.parse(),
    }
    .map_err(|_| format!("no number: {text}"))
}

fn value_mask(text: &str) -> Result<(u32, u32), String> {
    let (value, mask) = text
        .split_once('/')
        .ok_or_else(|| format!("no mask: {text}"))?;
    Ok((number(value)?, number(mask)?))
}

fn ports(text: &str) -> Result<Vec<(u16, u16)>, String> {
    let port = |t: &str| t.parse::<u16>().map_err(|_| format!("no port: {t}"));
    text.split(',')
        .map(|part| match part.split_once(':') {
            Some((a, b)) => Ok((port(a)?, port(b)?)),
            None => port(part).map(|p| (p, p)),
        })
        .collect()
}

impl Rule {
    /// Parses what follows `-A CHAIN`.
    pub fn parse(text: &str, table: &str) -> Result<Self, String> {
        let words = words(text)?;
        let mut words = words.iter().map(String::as_str);
        let mut matches = Vec::new();
        let mut target = Target::None;
        let mut modules: Vec<String> = Vec::new();
        let mut protocol = String::new();
        let mut negated = false;
        while let Some(word) = words.next() {
            let mut value = || {
                words
                    .next()
                    .ok_or_else(|| format!("{word} without a value"))
            };
            let found = match word {
                "!" => {
                    negated = true;
                    continue;
                }
                "-s" => Match::Src(value()?.parse().map_err(|_| "network")?),
                "-d" => Match::Dst(value()?.parse().map_err(|_| "network")?),
                "-p" => {
                    value()?.clone_into(&mut protocol);
                    Match::Protocol(protocol.clone())
                }
                "-m" => {
                    modules.push(value()?.to_owned());
                    continue;
                }
                "--comment" => {
                    if value()?.len() > 255 {
                        return Err("comment too long".into());
                    }
                    continue;
                }
                "--dport" | "--sport" => {
                    if !modules.contains(&protocol) {
                        return Err(format!("{word} without -m {protocol}"));
                    }
                    let ports = ports(value()?)?;
                    if word == "--dport" {
                        Match::DstPorts(ports)
                    } else {
                        Match::SrcPorts(ports)
                    }
                }
                "--dports" | "--sports" => {
                    let ports = ports(value()?)?;
                    let slots: usize = ports.iter().map(|(a, b)| 1 + usize::from(a != b)).sum();
                    if slots > 15 || !modules.iter().any(|m| m == "multiport") {
                        return Err("multiport".into());
                    }
                    if word == "--dports" {
                        Match::DstPorts(ports)
                    } else {
                        Match::SrcPorts(ports)
                    }
                }
                "--tcp-flags" => match (value()?, words.next()) {
                    ("FIN,SYN,RST,ACK", Some("SYN")) => Match::SynOnly,
                    ("RST", Some("RST")) => Match::Reset,
                    _ => return Err("unknown flags".into()),
                },
                "--ctstate" => Match::CtState(value()?.split(',').map(str::to_owned).collect()),
                "--mark" => {
                    let (value, mask) = value_mask(value()?)?;
                    match modules.last().map(String::as_str) {
                        Some("mark") => Match::Mark(value, mask),
                        Some("connmark") => Match::ConnMark(value, mask),
                        _ => return Err("--mark of what?".into()),
                    }
                }
                "--match-set" => {
                    let set = value()?.to_owned();
                    let sides = words.next().ok_or("no sides")?;
                    Match::Set(set, sides.split(',').map(str::to_owned).collect())
                }
                "--physdev-is-bridged" => Match::Bridged,
                "--pkt-type" => Match::PktType(value()?.to_owned()),
                "--src-type" if value()? == "LOCAL" => Match::SrcLocal,
                "--icmpv6-type" => Match::Icmp6(value()?.parse().map_err(|_| "ICMPv6 type")?),
                "-j" | "-g" => {
                    let name = value()?;
                    target = match (word, name) {
                        ("-g", chain) => Target::Goto(chain.into()),
                        (_, "RETURN") => Target::Return,
                        (_, "ACCEPT") => Target::Accept,
                        (_, "DROP") => Target::Drop,
                        (_, "MARK") => {
                            if words.next() != Some("--set-xmark") || table != "mangle" {
                                return Err("MARK".into());
                            }
                            let (value, mask) = value_mask(words.next().ok_or("mark")?)?;
                            Target::Mark(value, mask)
                        }
                        (_, "REJECT") => {
                            if words.next() != Some("--reject-with") || table != "filter" {
                                return Err("REJECT".into());
                            }
                            let with = words.next().ok_or("reject with what?")?;
                            if with == "tcp-reset" && protocol != "tcp" {
                                return Err("tcp-reset without -p tcp".into());
                            }
                            Target::Reject(with.into())
                        }
                        (_, chain) if chain.chars().all(|c| c.is_ascii_uppercase()) => {
                            return Err(format!("unknown target {chain}"));
                        }
                        (_, chain) => Target::Jump(chain.into()),
                    };
                    if words.next().is_some() {
                        return Err("something after the target".into());
                    }
                    break;
                }
                other => return Err(format!("unknown option {other}")),
            };
            matches.push((negated, found));
            negated = false;
        }
        Ok(Self {
            text: text.to_owned(),
            matches,
            target,
        })
    }

    /// The sets it looks at.
    pub fn sets(&self) -> impl Iterator<Item = &str> {
        self.matches.iter().filter_map(|(_, m)| match m {
            Match::Set(name, _) => Some(name.as_str()),
            _ => None,
        })
    }

    pub fn matches(&self, packet: &Packet, sets: &Sets) -> bool {
        self.matches
            .iter()
            .all(|(negated, m)| m.applies(packet) && m.holds(packet, sets) != *negated)
    }
}

impl Match {
    /// Turned round or not, a mark of a connection is none where there is no connection
    /// (`connmark_mt` of the kernel's `xt_connmark.c`).
    fn applies(&self, p: &Packet) -> bool {
        !matches!(self, Self::ConnMark(..)) || !["INVALID", "UNTRACKED"].contains(&p.ctstate)
    }

    fn holds(&self, p: &Packet, sets: &Sets) -> bool {
        let within =
            |list: &[(u16, u16)], port| list.iter().any(|(a, b)| (*a..=*b).contains(&port));
        match self {
            Self::Src(net) => net.contains(&p.src),
            Self::Dst(net) => net.contains(&p.dst),
            Self::Protocol(name) => p.protocol() == name,
            Self::SrcPorts(list) => within(list, p.sport),
            Self::DstPorts(list) => within(list, p.dport),
            Self::SynOnly => p.transport == Transport::Tcp(Segment::Syn),
            Self::Reset => p.transport == Transport::Tcp(Segment::Rst),
            Self::CtState(states) => states
                .iter()
                .any(|s| s == p.ctstate || (s == "DNAT" && p.dnat)),
            Self::Mark(value, mask) => p.mark & mask == *value,
            Self::ConnMark(value, mask) => p.connmark & mask == *value,
            Self::Set(name, sides) => in_set(sets, name, sides, p),
            Self::Bridged => p.bridged,
            Self::PktType(kind) => p.pkttype == kind,
            Self::SrcLocal => p.src_local,
            Self::Icmp6(kind) => !p.v4() && p.transport == Transport::Icmp(*kind),
        }
    }
}

fn in_set(sets: &Sets, name: &str, sides: &[String], p: &Packet) -> bool {
    let set = sets
        .get(name)
        .unwrap_or_else(|| panic!("rule with missing set {name}"));
    if set.v4 != p.v4() {
        return false;
    }
    let address: IpAddr = if sides[0] == "src" { p.src } else { p.dst };
    match (set.kind.as_str(), sides.len()) {
        ("hash:ip", 1) => set.members.contains(&Member::Ip(address)),
        ("hash:net", 1) => set.members.iter().any(|m| match m {
            Member::Net(net) => net.contains(&address),
            _ => false,
        }),
        ("hash:ip,port", 2) => {
            let port = if sides[1] == "src" { p.sport } else { p.dport };
            set.members
                .contains(&Member::Port(address, p.protocol().into(), port))
        }
        ("hash:net,iface", 2) => set.members.iter().any(|m| match m {
            Member::Iface(net, iface) => net.contains(&address) && iface == p.in_iface,
            _ => false,
        }),
        (kind, sides) => panic!("{name}: {kind} with {sides} sides"),
    }
}

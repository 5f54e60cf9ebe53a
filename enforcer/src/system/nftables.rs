//! nftables by netlink, read only: enough to watch our chains without starting a
//! process, and where the text of `iptables-nft-save` is of no use.

use super::netlink::{self, Attributes, Malformed, Protocol, Request, Socket, be32, text};
use super::{Entering, Error, Family, OWN_CHAIN_PREFIX, Opaque};
use std::collections::BTreeMap;
use std::time::Duration;

const SUBSYSTEM: u16 = 10 << 8;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const GET_CHAIN: u16 = SUBSYSTEM | 4;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const DELETE_RULE: u16 = SUBSYSTEM | 8;
const NEW_GENERATION: u16 = SUBSYSTEM | 15;
const GET_GENERATION: u16 = SUBSYSTEM | 16;

/// Length of `nfgenmsg`.
const FIXED: usize = 4;
/// How often a dump that another program's change disturbed is repeated.
const ATTEMPTS: usize = 5;

/// A rule, as far as we need to know it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Rule {
    /// Its chain.
    pub chain: String,
    /// Unique in its table.
    pub handle: u64,
    /// The chain it jumps (or goes) to.
    pub target: Option<String>,
}

fn fixed(family: Option<Family>) -> [u8; FIXED] {
    let number = match family {
        None => 0,
        Some(Family::V4) => 2,
        Some(Family::V6) => 10,
    };
    [number, 0, 0, 0]
}

fn reads<T>(what: &'static str, read: Result<T, Malformed>) -> Result<T, Error> {
    read.map_err(|found| Error::Unexpected {
        what: format!("netlink, {what}"),
        found: found.to_string(),
    })
}

/// The number of the ruleset's present state.
pub(super) fn generation(timeout: Duration) -> Result<u32, Error> {
    const WHAT: &str = "reading the nftables generation";
    let mut generation = None;
    Socket::open(Protocol::Netfilter, timeout, WHAT)?.exchange(
        Request::new(GET_GENERATION, 0, &fixed(None)),
        &mut |kind, payload| {
            if kind == NEW_GENERATION {
                generation = reads(WHAT, parse_generation(payload))?;
            }
            Ok(())
        },
    )?;
    generation.ok_or_else(|| Error::Unexpected {
        what: format!("netlink, {WHAT}"),
        found: "no generation".to_owned(),
    })
}

/// The rules of `chain`, or of every chain, of one of iptables' tables, in order.
pub(super) fn rules(
    family: Family,
    table: &str,
    chain: Option<&str>,
    timeout: Duration,
) -> Result<Vec<Rule>, Error> {
    const WHAT: &str = "listing nftables rules";
    let mut request = Request::new(GET_RULE, netlink::DUMP, &fixed(Some(family))).text(1, table);
    if let Some(chain) = chain {
        request = request.text(2, chain);
    }
    consistent(WHAT, &request, timeout, &mut |kind, payload| {
        Ok((kind == NEW_RULE).then_some(reads(WHAT, parse_rule(payload))?))
    })
}

/// (table, chain) of every chain of a family.
pub(super) fn chains(family: Family, timeout: Duration) -> Result<Vec<(String, String)>, Error> {
    const WHAT: &str = "listing nftables chains";
    let request = Request::new(GET_CHAIN, netlink::DUMP, &fixed(Some(family)));
    consistent(WHAT, &request, timeout, &mut |kind, payload| {
        Ok((kind == NEW_CHAIN).then_some(reads(WHAT, parse_chain(payload))?))
    })
}

/// The chains of every family, native ones too, with their table's name.
pub(super) fn all_chains(timeout: Duration) -> Result<Vec<(String, String)>, Error> {
    const WHAT: &str = "listing all nftables chains";
    let request = Request::new(GET_CHAIN, netlink::DUMP, &fixed(None));
    consistent(WHAT, &request, timeout, &mut |kind, payload| {
        Ok((kind == NEW_CHAIN).then_some(reads(WHAT, parse_chain(payload))?))
    })
}

/// Whether a family has chains of ours.
pub(super) fn has_own_chains(family: Family, timeout: Duration) -> Result<bool, Error> {
    let chains = chains(family, timeout)?;
    Ok(chains
        .iter()
        .any(|(_, chain)| chain.starts_with(OWN_CHAIN_PREFIX)))
}

/// What there is of ours in a table, without its rules' text.
pub(super) fn opaque(family: Family, table: &str, timeout: Duration) -> Result<Opaque, Error> {
    let own = |chain: &str| chain.starts_with(OWN_CHAIN_PREFIX);
    let mut found = Opaque::default();
    for (of, chain) in chains(family, timeout)? {
        if of == table && own(&chain) {
            found.chains.entry(chain).or_default();
        }
    }
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    for rule in rules(family, table, None, timeout)? {
        if own(&rule.chain) {
            let handles = found.chains.entry(rule.chain).or_default();
            handles.push(rule.handle);
            continue;
        }
        let next = places.entry(rule.chain.clone()).or_default();
        let place = *next;
        *next += 1;
        if let Some(target) = rule.target.filter(|target| own(target)) {
            found.entries.push(Entering {
                chain: rule.chain,
                place,
                handle: rule.handle,
                target,
            });
        }
    }
    Ok(found)
}

/// Deletes rules by (chain, handle), all or none.
pub(super) fn delete_rules(
    family: Family,
    table: &str,
    rules: &[(String, u64)],
    timeout: Duration,
) -> Result<(), Error> {
    const WHAT: &str = "deleting nftables rules";
    let requests = rules.iter().map(|(chain, handle)| {
        Request::new(DELETE_RULE, netlink::ACK, &fixed(Some(family)))
            .text(1, table)
            .text(2, chain)
            .attribute(3, &handle.to_be_bytes())
    });
    Socket::open(Protocol::Netfilter, timeout, WHAT)?.transaction(SUBSYSTEM >> 8, requests)
}

type Read<'a, T> = dyn FnMut(u16, &[u8]) -> Result<Option<T>, Error> + 'a;

/// A dump that no other change disturbed.
fn consistent<T>(
    what: &'static str,
    request: &Request,
    timeout: Duration,
    read: &mut Read<'_, T>,
) -> Result<Vec<T>, Error> {
    for _ in 0..ATTEMPTS {
        let mut found = Vec::new();
        let interrupted = Socket::open(Protocol::Netfilter, timeout, what)?.exchange(
            request.clone(),
            &mut |kind, payload| {
                found.extend(read(kind, payload)?);
                Ok(())
            },
        )?;
        if !interrupted {
            return Ok(found);
        }
    }
    Err(Error::Unexpected {
        what: format!("netlink, {what}"),
        found: format!("rules changed during each of {ATTEMPTS} attempts"),
    })
}

// === parsing (pure) ===

fn parse_generation(payload: &[u8]) -> Result<Option<u32>, Malformed> {
    Ok(Attributes::after(payload, FIXED)?.find(1)?.and_then(be32))
}

fn parse_chain(payload: &[u8]) -> Result<(String, String), Malformed> {
    let attributes = Attributes::after(payload, FIXED)?;
    let table = attributes.find(1)?.map(text);
    let chain = attributes.find(3)?.map(text);
    Ok((table.unwrap_or_default(), chain.unwrap_or_default()))
}

fn parse_rule(payload: &[u8]) -> Result<Rule, Malformed> {
    let mut rule = Rule::default();
    for attribute in Attributes::after(payload, FIXED)? {
        match attribute? {
            (2, chain) => rule.chain = text(chain),
            (3, handle) => {
                let bytes = handle.first_chunk().ok_or(Malformed("a short handle"))?;
                rule.handle = u64::from_be_bytes(*bytes);
            }
            (4, expressions) => {
                for expression in Attributes::new(expressions) {
                    if let Some(target) = jump_target(expression?.1)? {
                        rule.target = Some(target);
                    }
                }
            }
            _ => {}
        }
    }
    Ok(rule)
}

/// The chain that an expression jumps to: an `immediate` whose data is a verdict.
fn jump_target(expression: &[u8]) -> Result<Option<String>, Malformed> {
    let expression = Attributes::new(expression);
    if expression.find(1)?.map(text).as_deref() != Some("immediate") {
        return Ok(None);
    }
    let mut value = expression.find(2)?;
    // NFTA_IMMEDIATE_DATA, NFTA_DATA_VERDICT, NFTA_VERDICT_CHAIN
    for step in [2, 2, 2] {
        value = match value {
            Some(inner) => Attributes::new(inner).find(step)?,
            None => return Ok(None),
        };
    }
    Ok(value.map(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::Message;
    use proptest::prelude::*;

    #[test]
    fn a_jump_is_read() {
        let bytes = Request::new(NEW_RULE, 0, &fixed(Some(Family::V4)))
            .text(1, "mangle")
            .text(2, "FORWARD")
            .attribute(3, &7_u64.to_be_bytes())
            .nested(4, |r| {
                r.nested(1, |r| r.text(1, "counter")).nested(1, |r| {
                    r.text(1, "immediate").nested(2, |r| {
                        r.attribute(1, &[0, 0, 0, 0]).nested(2, |r| {
                            r.nested(2, |r| {
                                r.attribute(1, &(-3_i32).to_be_bytes()).text(2, "RF-A")
                            })
                        })
                    })
                })
            })
            .finish(1);
        let message = Message::next(&mut bytes.as_slice()).unwrap().unwrap();
        let rule = parse_rule(message.payload).unwrap();
        assert_eq!((rule.chain.as_str(), rule.handle), ("FORWARD", 7));
        assert_eq!(rule.target.as_deref(), Some("RF-A"));
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = (parse_generation(&bytes), parse_chain(&bytes), parse_rule(&bytes));
        }
    }
}

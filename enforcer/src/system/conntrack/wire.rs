//! conntrack entries as netlink attributes (`nfnetlink_conntrack.h`). Pure.

use super::{Entry, FlowKey, L4, MarkFilter, TcpState, Tuple};
use crate::system::netlink::{self, Attributes, Malformed, Request, be16, be32};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

const SUBSYSTEM: u16 = 1 << 8;
/// `IPCTNL_MSG_CT_NEW`: an entry told, or one to be changed.
pub(super) const NEW: u16 = SUBSYSTEM;
/// `IPCTNL_MSG_CT_GET`
const GET: u16 = SUBSYSTEM | 1;
/// Length of `nfgenmsg`.
const FIXED: usize = 4;

/// `CTA_*`
mod cta {
    pub const TUPLE_ORIG: u16 = 1;
    pub const TUPLE_REPLY: u16 = 2;
    pub const STATUS: u16 = 3;
    pub const PROTOINFO: u16 = 4;
    pub const MARK: u16 = 8;
    pub const ID: u16 = 12;
    pub const ZONE: u16 = 18;
    pub const MARK_MASK: u16 = 21;
}

/// `IP_CT_TCP_FLAG_BE_LIBERAL`: set on both directions of a flow picked up mid-stream.
const BE_LIBERAL: u8 = 0x08;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// A dump of both families.
pub(super) fn dump_request(filter: MarkFilter) -> Request {
    let request = Request::new(GET, netlink::DUMP, &[0; FIXED]);
    if filter.mask == 0 {
        return request;
    }
    request
        .attribute(cta::MARK, &filter.value.to_be_bytes())
        .attribute(cta::MARK_MASK, &filter.mask.to_be_bytes())
}

/// Writes `value` into the bits `mask` of a flow's mark. Without `NLM_F_CREATE`: a flow
/// that has ended is not made anew, the kernel says `ENOENT`.
pub(super) fn mark_request(flow: &FlowKey, value: u32, mask: u32) -> Request {
    let family = if flow.original.src.is_ipv4() { 2 } else { 10 };
    let mut request = Request::new(NEW, netlink::ACK, &[family, 0, 0, 0])
        .nested(cta::TUPLE_ORIG, |request| tuple(request, &flow.original));
    if flow.zone != 0 {
        request = request.attribute(cta::ZONE, &flow.zone.to_be_bytes());
    }
    request
        .attribute(cta::MARK, &(value & mask).to_be_bytes())
        .attribute(cta::MARK_MASK, &mask.to_be_bytes())
}

fn tuple(request: Request, tuple: &Tuple) -> Request {
    let request = request
        .nested(1, |r| {
            let r = address(r, [1, 3], tuple.src);
            address(r, [2, 4], tuple.dst)
        })
        .nested(2, |r| {
            let r = r.attribute(1, &[tuple.l4.protocol()]);
            match tuple.l4 {
                L4::Ports { src, dst, .. } => r
                    .attribute(2, &src.to_be_bytes())
                    .attribute(3, &dst.to_be_bytes()),
                L4::Icmp {
                    protocol,
                    id,
                    kind,
                    code,
                } => {
                    let [i, k, c] = if protocol == ICMPV6 {
                        [7, 8, 9]
                    } else {
                        [4, 5, 6]
                    };
                    r.attribute(i, &id.to_be_bytes())
                        .attribute(k, &[kind])
                        .attribute(c, &[code])
                }
                L4::Other(_) => r,
            }
        });
    match tuple.zone {
        Some(zone) => request.attribute(3, &zone.to_be_bytes()),
        None => request,
    }
}

fn address(request: Request, [v4, v6]: [u16; 2], address: IpAddr) -> Request {
    match address {
        IpAddr::V4(a) => request.attribute(v4, &a.octets()),
        IpAddr::V6(a) => request.attribute(v6, &a.octets()),
    }
}

/// An entry from what follows the header of a [`NEW`] message.
pub(super) fn parse(payload: &[u8]) -> Result<Entry, Malformed> {
    let mut original = None;
    let mut reply = None;
    let (mut mark, mut id, mut status, mut zone, mut tcp) = (0, 0, 0, 0, None);
    for attribute in Attributes::after(payload, FIXED)? {
        let (kind, value) = attribute?;
        match kind {
            cta::TUPLE_ORIG => original = Some(parse_tuple(value)?),
            cta::TUPLE_REPLY => reply = Some(parse_tuple(value)?),
            cta::STATUS => status = number(be32(value))?,
            cta::PROTOINFO => tcp = parse_tcp(value)?,
            cta::MARK => mark = number(be32(value))?,
            cta::ID => id = number(be32(value))?,
            cta::ZONE => zone = number(be16(value))?,
            _ => {}
        }
    }
    Ok(Entry {
        key: FlowKey {
            original: original.ok_or(Malformed("an entry without its original tuple"))?,
            zone,
        },
        reply: reply.ok_or(Malformed("an entry without its reply tuple"))?,
        mark,
        id,
        status,
        tcp,
    })
}

fn number<T>(read: Option<T>) -> Result<T, Malformed> {
    read.ok_or(Malformed("a number that is cut"))
}

fn parse_tuple(bytes: &[u8]) -> Result<Tuple, Malformed> {
    let (mut src, mut dst, mut l4, mut zone) = (None, None, None, None);
    for attribute in Attributes::new(bytes) {
        match attribute? {
            (1, addresses) => {
                for address in Attributes::new(addresses) {
                    match address? {
                        (1 | 3, value) => src = Some(parse_address(value)?),
                        (2 | 4, value) => dst = Some(parse_address(value)?),
                        _ => {}
                    }
                }
            }
            (2, protocol) => l4 = Some(parse_l4(protocol)?),
            (3, value) => zone = Some(number(be16(value))?),
            _ => {}
        }
    }
    match (src, dst, l4) {
        (Some(src), Some(dst), Some(l4)) => Ok(Tuple { src, dst, l4, zone }),
        _ => Err(Malformed("a tuple without addresses or protocol")),
    }
}

fn parse_address(value: &[u8]) -> Result<IpAddr, Malformed> {
    if let Ok(octets) = <[u8; 4]>::try_from(value) {
        return Ok(Ipv4Addr::from(octets).into());
    }
    <[u8; 16]>::try_from(value)
        .map(|octets| Ipv6Addr::from(octets).into())
        .map_err(|_| Malformed("an address of neither 4 nor 16 bytes"))
}

fn parse_l4(bytes: &[u8]) -> Result<L4, Malformed> {
    let (mut protocol, mut src, mut dst) = (None, None, None);
    let (mut id, mut message, mut code) = (0, 0, 0);
    for attribute in Attributes::new(bytes) {
        let (kind, value) = attribute?;
        match kind {
            1 => protocol = Some(number(value.first().copied())?),
            2 => src = Some(number(be16(value))?),
            3 => dst = Some(number(be16(value))?),
            4 | 7 => id = number(be16(value))?,
            5 | 8 => message = number(value.first().copied())?,
            6 | 9 => code = number(value.first().copied())?,
            _ => {}
        }
    }
    let protocol = protocol.ok_or(Malformed("a tuple without protocol"))?;
    Ok(match (protocol, src, dst) {
        (ICMP | ICMPV6, ..) => L4::Icmp {
            protocol,
            id,
            kind: message,
            code,
        },
        (_, Some(src), Some(dst)) => L4::Ports { protocol, src, dst },
        _ => L4::Other(protocol),
    })
}

fn parse_tcp(protoinfo: &[u8]) -> Result<Option<TcpState>, Malformed> {
    let Some(tcp) = Attributes::new(protoinfo).find(1)? else {
        return Ok(None);
    };
    let (mut state, mut original, mut reply) = (0, 0, 0);
    for attribute in Attributes::new(tcp) {
        match attribute? {
            (1, value) => state = number(value.first().copied())?,
            (4, value) => original = number(value.first().copied())?,
            (5, value) => reply = number(value.first().copied())?,
            _ => {}
        }
    }
    Ok(Some(TcpState {
        state,
        picked_up: original & reply & BE_LIBERAL != 0,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::system::netlink::Message;
    use proptest::prelude::*;
    use test_case::test_case;

    fn t(src: &str, dst: &str, l4: L4) -> Tuple {
        Tuple {
            src: src.parse().unwrap(),
            dst: dst.parse().unwrap(),
            l4,
            zone: None,
        }
    }

    const TCP: L4 = L4::Ports {
        protocol: 6,
        src: 40_000,
        dst: 80,
    };
    const PING: L4 = L4::Icmp {
        protocol: ICMP,
        id: 7,
        kind: 8,
        code: 0,
    };
    const PING6: L4 = L4::Icmp {
        protocol: ICMPV6,
        id: 7,
        kind: 128,
        code: 0,
    };

    #[test_case(t("10.0.0.1", "10.0.0.2", TCP), 0; "ports, IPv4")]
    #[test_case(t("fd00::1", "fd00::2", TCP), 0; "ports, IPv6")]
    #[test_case(t("10.0.0.1", "10.0.0.2", PING), 0; "echo")]
    #[test_case(t("fd00::1", "fd00::2", PING6), 0; "echo, IPv6")]
    #[test_case(t("10.0.0.1", "10.0.0.2", L4::Other(47)), 3; "GRE in a zone")]
    #[test_case(Tuple { zone: Some(9), ..t("10.0.0.1", "10.0.0.2", TCP) }, 0; "zone of one direction")]
    fn what_is_asked_reads_back(original: Tuple, zone: u16) {
        let key = FlowKey { original, zone };
        let bytes = mark_request(&key, 0xffff_ffff, 0x1000)
            .nested(cta::TUPLE_REPLY, |r| tuple(r, &original))
            .finish(1);
        let message = Message::next(&mut bytes.as_slice()).unwrap().unwrap();
        let entry = parse(message.payload).unwrap();
        assert_eq!(entry.key, key);
        assert_eq!(entry.mark, 0x1000, "never more than the mask");
    }

    #[test_case(0x08, 0x08, true; "both liberal")]
    #[test_case(0x0a, 0x0b, true; "with other flags")]
    #[test_case(0x08, 0x00, false; "one direction only")]
    #[test_case(0x03, 0x03, false; "window scaling and SACK")]
    fn picked_up(original: u8, reply: u8, expected: bool) {
        let bytes = Request::new(NEW, 0, &[2, 0, 0, 0])
            .nested(1, |r| {
                r.attribute(1, &[3])
                    .attribute(4, &[original, 0])
                    .attribute(5, &[reply, 0])
            })
            .finish(1);
        let message = Message::next(&mut bytes.as_slice()).unwrap().unwrap();
        let tcp = parse_tcp(&message.payload[FIXED..]).unwrap().unwrap();
        assert_eq!((tcp.state, tcp.picked_up), (3, expected));
    }

    #[test]
    fn an_entry_without_a_tuple_is_refused() {
        assert!(parse(&[2, 0, 0, 0]).is_err());
        assert!(parse(&[]).is_err());
    }

    proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let _ = parse(&bytes);
        }

        #[test]
        fn damaged_entries_never_panic(at in 0_usize..120, to in any::<u8>()) {
            let mut bytes = mark_request(
                &FlowKey { original: t("10.0.0.1", "10.0.0.2", TCP), zone: 1 }, 1, 1,
            ).finish(1);
            if let Some(byte) = bytes.get_mut(at) {
                *byte = to;
            }
            if let Some(Ok(message)) = Message::next(&mut bytes.as_slice()) {
                let _ = parse(message.payload);
            }
        }
    }
}

//! Where kube-proxy's rules lead, read from what the system prints of them.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

/// Where Services lead: what the objects say, or what rules do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Leads {
    /// To which pods, and how many Service ports do.
    pub endpoints: BTreeMap<SocketAddr, usize>,
    /// Node ports with an endpoint behind them, and whether only endpoints of the same node
    /// answer (`externalTrafficPolicy: Local`); how many, by protocol and family.
    pub doors: BTreeMap<(u16, bool), usize>,
}

impl Leads {
    /// From the rules of kube-proxy in either mode, of both families one after the other.
    pub(crate) fn read(rules: &str) -> Self {
        let mut doors = BTreeMap::new();
        let (ports, masquerading) = if rules.contains("KUBE-NODEPORTS") {
            iptables_doors(rules)
        } else {
            nftables_doors(rules)
        };
        for ((port, chain), count) in ports {
            // The families are written one after the other.
            let cluster = count.min(*masquerading.get(chain).unwrap_or(&0));
            for (local, count) in [(false, cluster), (true, count - cluster)] {
                if count > 0 {
                    *doors.entry((port, local)).or_default() += count;
                }
            }
        }
        Self {
            endpoints: endpoints(rules),
            doors,
        }
    }
}

/// How many rules lead from a node port to a chain, and in how many families a chain hides
/// who asks.
type Ports<'a> = (BTreeMap<(u16, &'a str), usize>, BTreeMap<&'a str, usize>);

/// `-A KUBE-NODEPORTS ... --dport 30080 -j KUBE-EXT-X`, and in that chain
/// `--comment "masquerade traffic for x/a external destinations"`.
fn iptables_doors(rules: &str) -> Ports<'_> {
    let (mut ports, mut masquerading) = Ports::default();
    for line in rules.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        let after = |option: &str| {
            let at = words.iter().position(|word| *word == option)?;
            words.get(at + 1).copied()
        };
        let Some(chain) = after("-A") else { continue };
        // Beside the port's own rule there may be one that counts what came by 127.0.0.1.
        if chain == "KUBE-NODEPORTS" && after("-d").is_none() {
            if let (Some(Ok(port)), Some(to)) = (after("--dport").map(str::parse), after("-j")) {
                *ports.entry((port, to)).or_default() += 1;
            }
        } else if line.contains("\"masquerade traffic for ") {
            *masquerading.entry(chain).or_default() += 1;
        }
    }
    (ports, masquerading)
}

/// `tcp . 30080 : goto external-X` in a map, and in that chain a rule that is called
/// "masquerade".
fn nftables_doors(rules: &str) -> Ports<'_> {
    let (mut ports, mut masquerading) = Ports::default();
    let words: Vec<&str> = rules
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .collect();
    let mut chain = "";
    for (index, word) in words.iter().enumerate() {
        let next = |n: usize| words.get(index + n).copied().unwrap_or_default();
        match *word {
            "chain" => chain = next(1),
            "comment" if next(1) == "\"masquerade\"" => {
                *masquerading.entry(chain).or_default() += 1;
            }
            "." if next(2) == ":" && next(3) == "goto" && next(4).starts_with("external-") => {
                if let Ok(port) = next(1).parse() {
                    *ports.entry((port, next(4))).or_default() += 1;
                }
            }
            _ => {}
        }
    }
    (ports, masquerading)
}

/// `--to-destination 10.16.1.10:80` in iptables; in nftables `dnat to 10.16.1.10:80`, or out
/// of a map with `10.16.1.10 . 80`, which may go over several lines.
fn endpoints(rules: &str) -> BTreeMap<SocketAddr, usize> {
    let words: Vec<&str> = rules
        .split_whitespace()
        .map(|word| word.trim_end_matches(','))
        .collect();
    let mut found: BTreeMap<SocketAddr, usize> = BTreeMap::new();
    let mut in_map = false;
    // Repeats the endpoints of this node, for externalTrafficPolicy Local.
    let mut in_local_chain = false;
    for (index, word) in words.iter().enumerate() {
        let next = |n: usize| words.get(index + n).copied().unwrap_or_default();
        let destination = match *word {
            "--to-destination" => next(1).parse().ok(),
            "chain" => {
                in_local_chain = next(1).starts_with("local-");
                None
            }
            _ if in_local_chain => None,
            "dnat" => {
                in_map = true;
                next(2).parse().ok()
            }
            "}" => {
                in_map = false;
                None
            }
            ip if in_map && next(1) == "." => {
                let (ip, port) = (ip.parse::<IpAddr>(), next(2).parse::<u16>());
                ip.ok().zip(port.ok()).map(SocketAddr::from)
            }
            _ => None,
        };
        if let Some(address) = destination {
            *found.entry(address).or_default() += 1;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    #[test]
    fn both_modes_name_their_destinations() {
        let rules = "-A KUBE-SEP-X -p tcp -j DNAT --to-destination 10.16.1.10:80\n\
                     set hairpin-connections { elements = { 10.16.1.10 . 10.16.1.10 . tcp . 80 } }\n\
                     chain local-X { meta l4proto tcp dnat to 10.16.1.10:80 }\n\
                     chain service-X { meta l4proto tcp dnat to 10.16.1.10:80\n\
                     meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.16.1.10 . 80,\n\
                     1 : 10.16.1.11 . 81 }";
        let address = |text: &str| text.parse::<SocketAddr>().unwrap();
        let expected = [(address("10.16.1.10:80"), 3), (address("10.16.1.11:81"), 1)];
        assert_eq!(Leads::read(rules).endpoints, expected.into());
    }

    const LOCAL: &str = "-A KUBE-EXT-X -s 10.16.0.0/14 -m comment --comment \"pod traffic for x/a external destinations\" -j KUBE-SVC-X\n\
         -A KUBE-EXT-X -m comment --comment \"masquerade LOCAL traffic for x/a external destinations\" -m addrtype --src-type LOCAL -j KUBE-MARK-MASQ\n";
    const CLUSTER: &str = "-A KUBE-EXT-X -m comment --comment \"masquerade traffic for x/a external destinations\" -j KUBE-MARK-MASQ\n";
    const PORT: &str = "-A KUBE-NODEPORTS -d 127.0.0.0/8 -p tcp -m comment --comment x/a -m tcp --dport 30080 -m nfacct --nfacct-name  localhost_nps_accepted_pkts -j KUBE-EXT-X\n\
         -A KUBE-NODEPORTS -p tcp -m comment --comment x/a -m tcp --dport 30080 -j KUBE-EXT-X\n";
    const MAP: &str = "map service-nodeports { type inet_proto . inet_service : verdict\n elements = { tcp . 30080 : goto external-X, udp . 30081 : goto external-Y } }\n\
         map no-endpoint-nodeports { elements = { tcp . 30082 comment \"x/b\" : drop } }\n";
    const NFT_LOCAL: &str = "chain external-X { fib saddr type local meta mark set meta mark | 0x4000 comment \"masquerade local traffic\"\n\
         fib saddr type local goto service-X comment \"short-circuit local traffic\" }\n";
    const NFT_CLUSTER: &str = "chain external-X { meta mark set meta mark | 0x00004000 comment \"masquerade\"\n goto service-X }\n";

    #[test_case(&[], &[]; "nothing")]
    #[test_case(&[PORT, LOCAL], &[((30_080, true), 1)]; "Local")]
    #[test_case(&[PORT, CLUSTER], &[((30_080, false), 1)]; "Cluster")]
    #[test_case(&[PORT, CLUSTER, PORT, CLUSTER], &[((30_080, false), 2)]; "both families")]
    #[test_case(&[PORT, CLUSTER, PORT, LOCAL], &[((30_080, false), 1), ((30_080, true), 1)]; "one family is late")]
    #[test_case(&[MAP, NFT_LOCAL], &[((30_080, true), 1), ((30_081, true), 1)]; "Local in nftables")]
    #[test_case(&[MAP, NFT_CLUSTER], &[((30_080, false), 1), ((30_081, true), 1)]; "Cluster in nftables")]
    fn node_ports(rules: &[&str], doors: &[((u16, bool), usize)]) {
        let doors = doors.iter().copied().collect();
        assert_eq!(Leads::read(&rules.concat()).doors, doors);
    }
}

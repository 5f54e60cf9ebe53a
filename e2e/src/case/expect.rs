//! Which cells are probed, and what the case itself says about them.

use super::arrive::Names;
use crate::probe::Transport;
use crate::truth::Cell;
use anyhow::{Result, ensure};
use ringfence_policy::model::Protocol;
use std::net::IpAddr;

/// Questions, and the case's own answers. The oracle answers too, and both must agree.
#[derive(Clone, Debug)]
#[must_use]
pub struct Expect {
    transports: Vec<Transport>,
    matrix: bool,
    ipv4: bool,
    seen: Vec<(&'static str, &'static str, &'static str)>,
    pairs: Vec<(&'static str, &'static str)>,
    rules: Vec<(&'static str, &'static str, bool)>,
}

/// Every pod to every pod, itself too, over IPv4 and IPv6, with each of `transports`.
pub fn matrix(transports: &[Transport]) -> Expect {
    Expect {
        transports: transports.to_vec(),
        matrix: true,
        ipv4: false,
        seen: Vec::new(),
        pairs: Vec::new(),
        rules: Vec::new(),
    }
}

/// These pairs only.
pub fn cells(transports: &[Transport], pairs: &[(&'static str, &'static str)]) -> Expect {
    Expect {
        transports: transports.to_vec(),
        matrix: false,
        ipv4: false,
        seen: Vec::new(),
        pairs: pairs.to_vec(),
        rules: Vec::new(),
    }
}

impl Expect {
    /// Adds pairs, for example of the outside.
    pub fn and(mut self, pairs: &[(&'static str, &'static str)]) -> Self {
        self.pairs.extend(pairs);
        self
    }

    /// Over IPv4 only: node ports of a Service that has no other addresses.
    pub fn over_ipv4(mut self) -> Self {
        self.ipv4 = true;
        self
    }

    /// Says that these are denied. Patterns: `x/a`, `x/*`, `*/a`, `*`, an external's or a
    /// node's name. With any rule, what no rule matches is allowed; the last match decides.
    pub fn denied(mut self, from: &'static str, to: &'static str) -> Self {
        self.rules.push((from, to, false));
        self
    }

    /// Says that these are allowed.
    pub fn allowed(mut self, from: &'static str, to: &'static str) -> Self {
        self.rules.push((from, to, true));
        self
    }

    /// Says as whom the server must see a client: the name of a host, or an address.
    pub fn seen(mut self, from: &'static str, to: &'static str, client: &'static str) -> Self {
        self.seen.push((from, to, client));
        self
    }

    /// The address that the server must see, where the case says so.
    pub(super) fn sees(&self, names: &Names, cell: &Cell) -> Result<Option<IpAddr>> {
        let said = self.seen.iter();
        let mut said =
            said.filter(|(from, to, _)| matches(from, &cell.from) && matches(to, &cell.to));
        let Some((.., client)) = said.next() else {
            return Ok(None);
        };
        if let Ok(address) = client.parse() {
            return Ok(Some(address));
        }
        let all = names.addresses(client)?;
        Ok(all.into_iter().find(|address| address.is_ipv4() == cell.v4))
    }

    /// What the case says about a cell; `None` when it leaves that to the oracle.
    pub fn says(&self, cell: &Cell) -> Option<bool> {
        if self.rules.is_empty() {
            return None;
        }
        let last = self
            .rules
            .iter()
            .rev()
            .find(|(from, to, _)| matches(from, &cell.from) && matches(to, &cell.to));
        Some(last.is_none_or(|(.., allowed)| *allowed))
    }

    /// The cells in this world. A pair without a common address family is an error, unless one
    /// of them has no address here at all: an IPv6 host outside of a cluster without IPv6.
    pub(super) fn cells(&self, names: &Names) -> Result<Vec<Cell>> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        if self.matrix {
            let pods = names.pods();
            for from in &pods {
                pairs.extend(pods.iter().map(|to| (from.clone(), to.clone())));
            }
        }
        pairs.extend(
            self.pairs
                .iter()
                .map(|(f, t)| ((*f).to_owned(), (*t).to_owned())),
        );
        let mut cells = Vec::new();
        for (from, to) in pairs {
            let (source, target) = (names.addresses(&from)?, names.addresses(&to)?);
            let before = cells.len();
            for v4 in [true, false] {
                let has = |addresses: &[IpAddr]| addresses.iter().any(|a| a.is_ipv4() == v4);
                if (v4 || !self.ipv4) && has(&source) && has(&target) {
                    cells.extend(self.transports.iter().map(|transport| Cell {
                        from: from.clone(),
                        to: to.clone(),
                        v4,
                        transport: *transport,
                    }));
                }
            }
            ensure!(
                cells.len() > before || source.is_empty() || target.is_empty(),
                "{from} and {to} have no address family in common"
            );
        }
        Ok(cells)
    }

    /// Whether it sends this protocol.
    pub fn sends(&self, wanted: Protocol) -> bool {
        let sends = |t: &Transport| matches!(t, Transport::Port(sent, _) if *sent == wanted);
        self.transports.iter().any(sends)
    }

    /// Whom the pairs name.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        self.pairs.iter().flat_map(|(from, to)| [*from, *to])
    }

    /// Whether nothing is asked any more when these hosts are left out.
    pub fn is_left_empty_without(&self, left_out: impl Fn(&str) -> bool) -> bool {
        let asked = |(from, to): &(&str, &str)| !left_out(from) && !left_out(to);
        !self.matrix && !self.pairs.iter().any(asked)
    }

    /// A title for the table.
    pub fn title(&self) -> String {
        let all: Vec<String> = self.transports.iter().map(ToString::to_string).collect();
        all.join(", ")
    }
}

/// `*` stands for a whole part between slashes, or for everything.
fn matches(pattern: &str, name: &str) -> bool {
    match (pattern.split_once('/'), name.split_once('/')) {
        (None, _) => pattern == "*" || pattern == name,
        (Some((p, q)), Some((a, b))) => (p == "*" || p == a) && (q == "*" || q == b),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::tcp;
    use test_case::test_case;

    #[test_case("*", "office" => true; "everything")]
    #[test_case("x/*", "x/b" => true; "a namespace")]
    #[test_case("*/a", "y/a" => true; "a name in every namespace")]
    #[test_case("*/a", "office" => false; "an external is no pod")]
    #[test_case("x/a", "x/ab" => false; "no prefixes")]
    fn patterns(pattern: &str, name: &str) -> bool {
        matches(pattern, name)
    }

    #[test_case(&cells(&[], &[("x/a", "six"), ("x/a", "x/b")]), false; "a pair is left")]
    #[test_case(&cells(&[], &[("x/a", "six"), ("six", "x/b")]), true; "none is left")]
    #[test_case(&matrix(&[]).and(&[("x/a", "six")]), false; "the matrix is left")]
    fn without_a_host(expect: &Expect, empty: bool) {
        assert_eq!(expect.is_left_empty_without(|name| name == "six"), empty);
    }

    #[test]
    fn the_last_rule_decides_and_the_rest_is_allowed() {
        let expect = matrix(&[tcp(80)]).denied("*", "x/a").allowed("x/a", "x/a");
        let says = |from: &str, to: &str| {
            expect.says(&Cell {
                from: from.into(),
                to: to.into(),
                v4: true,
                transport: tcp(80),
            })
        };
        assert_eq!(says("x/b", "x/a"), Some(false));
        assert_eq!(says("x/a", "x/a"), Some(true));
        assert_eq!(says("x/a", "x/b"), Some(true));
        assert_eq!(
            matrix(&[]).says(&Cell {
                from: "a".into(),
                to: "b".into(),
                v4: true,
                transport: tcp(80)
            }),
            None
        );
    }
}

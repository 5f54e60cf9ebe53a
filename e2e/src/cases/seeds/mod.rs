//! The examples of the five documents, as their fixtures have them: applied file by file,
//! with what the documents say wrongly beside it.

/// The text of `fixtures/seeds/PATH.yaml`, built in.
macro_rules! seed {
    ($path:literal) => {
        include_str!(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/fixtures/seeds/",
            $path,
            ".yaml"
        ))
    };
}

mod definition;
mod doors;
#[cfg(test)]
mod fixtures;
mod guide;
mod load_balancer;
mod node_ports;
mod policies;
mod tencent;

use crate::case::{Case, Expect};

/// The cases.
pub fn cases() -> Vec<Case> {
    [
        guide::cases(),
        definition::cases(),
        node_ports::cases(),
        load_balancer::cases(),
        doors::cases(),
        tencent::cases(),
        policies::cases(),
    ]
    .concat()
}

/// A pod always reaches its own address.
fn own(expect: Expect, pods: &[&'static str]) -> Expect {
    pods.iter().fold(expect, |e, pod| e.allowed(pod, pod))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::case::rehearse;

    #[test]
    fn the_oracle_agrees_with_what_is_written_by_hand() {
        let mut faults = Vec::new();
        for case in cases() {
            for kind in &case.kinds {
                for placement in &case.placements {
                    let name = format!("{}/{}", case.name, placement.as_str());
                    match rehearse(&case, *kind, *placement) {
                        Ok(found) => faults.extend(found.iter().map(|f| format!("{name}: {f}"))),
                        Err(error) => faults.push(format!("{name}: {error:#}")),
                    }
                }
            }
        }
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }
}

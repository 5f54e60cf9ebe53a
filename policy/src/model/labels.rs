//! Labels and label selectors.

use super::Name;
use std::fmt;
use std::sync::Arc;

/// An immutable, sorted label map; clones share it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Labels(Arc<[(Name, Name)]>);

/// More labels than this are searched as the sorted list that they are.
const FEW: usize = 16;

impl Labels {
    /// Labels from pairs; the last of two equal keys wins, as in a map.
    pub fn new<K: Into<Name>, V: Into<Name>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        let map: std::collections::BTreeMap<Name, Name> = pairs
            .into_iter()
            .map(|(k, v)| (k.into(), v.into()))
            .collect();
        Self(map.into_iter().collect())
    }

    /// The value of `key`, if the label is there.
    pub fn get(&self, key: &str) -> Option<&Name> {
        // Keys that differ mostly differ in length: among a few, looking at each is quicker
        // than ordering them.
        let found = if self.0.len() <= FEW {
            self.0.iter().find(|(k, _)| **k == *key)
        } else {
            let at = self.0.binary_search_by(|(k, _)| (**k).cmp(key));
            at.ok().map(|at| &self.0[at])
        };
        found.map(|(_, value)| value)
    }

    /// All pairs, in key order.
    pub fn iter(&self) -> impl Iterator<Item = (&Name, &Name)> {
        self.0.iter().map(|(k, v)| (k, v))
    }
}

/// A label selector: every requirement must hold; without any it matches everything.
///
/// Canonical: requirements are sorted and free of repetitions, so equal meaning
/// written in another order is an equal value (and shares an address set).
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Selector(Arc<[Requirement]>);

/// One requirement of a selector.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Requirement {
    /// The label's key.
    pub key: Name,
    /// What must hold for its value.
    pub operator: Operator,
}

/// The operators of `LabelSelectorRequirement`; `matchLabels` is `In` with one value.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Operator {
    /// The label is there with one of these values (sorted).
    In(Vec<Name>),
    /// The label has none of these values (sorted); **a missing label matches**.
    NotIn(Vec<Name>),
    /// The label is there.
    Exists,
    /// The label is not there.
    DoesNotExist,
}

impl Selector {
    /// The selector that matches everything.
    pub fn everything() -> Self {
        Self::default()
    }

    /// A selector from requirements in any order.
    pub fn new(requirements: impl IntoIterator<Item = Requirement>) -> Self {
        let mut all: Vec<Requirement> = requirements
            .into_iter()
            .map(|mut r| {
                if let Operator::In(values) | Operator::NotIn(values) = &mut r.operator {
                    values.sort();
                    values.dedup();
                }
                r
            })
            .collect();
        all.sort();
        all.dedup();
        Self(all.into())
    }

    /// `matchLabels` only.
    pub fn labels<K: Into<Name>, V: Into<Name>>(pairs: impl IntoIterator<Item = (K, V)>) -> Self {
        Self::new(pairs.into_iter().map(|(k, v)| Requirement {
            key: k.into(),
            operator: Operator::In(vec![v.into()]),
        }))
    }

    /// True when there is no requirement.
    pub fn is_everything(&self) -> bool {
        self.0.is_empty()
    }

    /// The requirements, sorted.
    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

/// As `kubectl -l` takes it: `app=db,tier notin (web)`; nothing for everything.
impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, requirement) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{requirement}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = &self.key;
        match &self.operator {
            Operator::In(values) if values.len() == 1 => write!(f, "{key}={}", values[0]),
            Operator::In(values) => write!(f, "{key} in ({})", values.join(",")),
            Operator::NotIn(values) => write!(f, "{key} notin ({})", values.join(",")),
            Operator::Exists => f.write_str(key),
            Operator::DoesNotExist => write!(f, "!{key}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_label_of_few_and_of_many_is_found() {
        for count in [0, 1, FEW, FEW + 1, 4 * FEW] {
            let labels = Labels::new((0..count).map(|i| (format!("k{i}"), format!("v{i}"))));
            for i in 0..=count {
                let value = labels.get(&format!("k{i}")).map(ToString::to_string);
                assert_eq!(value, (i < count).then(|| format!("v{i}")));
            }
        }
    }
}

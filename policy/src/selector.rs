//! Matching labels against selectors, as `metav1.LabelSelector` defines it.

use crate::model::{Labels, Operator, Requirement, Selector};

impl Requirement {
    /// Whether this requirement holds for `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        let value = labels.get(&self.key);
        match &self.operator {
            Operator::In(values) => value.is_some_and(|v| values.contains(v)),
            // A label that is absent satisfies NotIn: the documented surprise of seed 002.
            Operator::NotIn(values) => value.is_none_or(|v| !values.contains(v)),
            Operator::Exists => value.is_some(),
            Operator::DoesNotExist => value.is_none(),
        }
    }
}

impl Selector {
    /// Whether every requirement holds for `labels`.
    pub fn matches(&self, labels: &Labels) -> bool {
        self.requirements().iter().all(|r| r.matches(labels))
    }
}

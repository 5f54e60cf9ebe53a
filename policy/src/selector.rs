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

#[cfg(test)]
mod tests {
    use super::*;
    use test_case::test_case;

    fn requirement(key: &str, operator: Operator) -> Requirement {
        Requirement {
            key: key.into(),
            operator,
        }
    }

    fn values(values: &[&str]) -> Vec<crate::model::Name> {
        values.iter().map(|v| (*v).into()).collect()
    }

    #[test_case(Operator::In(values(&["db", "web"])), true; "In with the value")]
    #[test_case(Operator::In(values(&["web"])), false; "In without the value")]
    #[test_case(Operator::In(values(&[])), false; "In of nothing")]
    #[test_case(Operator::NotIn(values(&["db"])), false; "NotIn with the value")]
    #[test_case(Operator::NotIn(values(&["web"])), true; "NotIn without the value")]
    #[test_case(Operator::Exists, true; "Exists")]
    #[test_case(Operator::DoesNotExist, false; "DoesNotExist")]
    fn a_label_that_is_there(operator: Operator, expected: bool) {
        let labels = Labels::new([("app", "db"), ("tier", "")]);
        assert_eq!(requirement("app", operator).matches(&labels), expected);
    }

    #[test_case(Operator::In(values(&["db", ""])), false; "In, even of the empty value")]
    #[test_case(Operator::NotIn(values(&["db"])), true; "NotIn")]
    #[test_case(Operator::Exists, false; "Exists")]
    #[test_case(Operator::DoesNotExist, true; "DoesNotExist")]
    fn a_label_that_is_absent(operator: Operator, expected: bool) {
        let labels = Labels::new([("app.kubernetes.io/name", "db")]);
        assert_eq!(requirement("app", operator).matches(&labels), expected);
    }

    #[test_case(Operator::In(values(&[""])), true; "In")]
    #[test_case(Operator::NotIn(values(&[""])), false; "NotIn")]
    #[test_case(Operator::Exists, true; "Exists")]
    #[test_case(Operator::DoesNotExist, false; "DoesNotExist")]
    fn a_label_with_an_empty_value(operator: Operator, expected: bool) {
        let labels = Labels::new([("app", "")]);
        assert_eq!(requirement("app", operator).matches(&labels), expected);
    }

    #[test]
    fn requirements_are_joined_by_and() {
        let both = Selector::labels([("role", "db"), ("version", "v2")]);
        assert!(both.matches(&Labels::new([
            ("role", "db"),
            ("version", "v2"),
            ("x", "y")
        ])));
        assert!(!both.matches(&Labels::new([("role", "db")])));
        let never = Selector::new([
            requirement("a", Operator::Exists),
            requirement("a", Operator::DoesNotExist),
        ]);
        assert!(!never.matches(&Labels::new([("a", "b")])));
        assert!(!never.matches(&Labels::default()));
    }

    #[test]
    fn no_requirement_matches_everything() {
        assert!(Selector::everything().matches(&Labels::default()));
        assert!(Selector::everything().matches(&Labels::new([("a", "b")])));
    }
}

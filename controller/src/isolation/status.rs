//! Statuses from statements: pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition as ApiCondition, Time};
use ringfence_isolation::{Condition, Statement, Status};

/// The API allows 32,768 bytes.
const LONGEST: usize = 2000;

/// The conditions of an object that had `before`. A condition keeps its time while its
/// status stays.
pub fn conditions(
    before: &[ApiCondition],
    statements: &[Statement],
    now: Timestamp,
) -> Vec<ApiCondition> {
    let condition = |statement: &Statement| {
        let kind = statement.condition.as_str();
        let old = find(before, statement.condition);
        let same = old.filter(|old| old.status == statement.status.as_str());
        let mut message = statement.message.clone();
        if message.len() > LONGEST {
            let end = (0..=LONGEST).rev().find(|at| message.is_char_boundary(*at));
            message.truncate(end.unwrap_or_default());
        }
        ApiCondition {
            type_: kind.to_owned(),
            status: statement.status.as_str().to_owned(),
            reason: statement.reason.to_owned(),
            message,
            // Status says it once, for all of its conditions: ten rules have forty.
            observed_generation: None,
            last_transition_time: same.map_or(Time(now), |old| old.last_transition_time.clone()),
        }
    };
    statements.iter().map(condition).collect()
}

/// A condition by its type.
pub fn find(conditions: &[ApiCondition], condition: Condition) -> Option<&ApiCondition> {
    let mut all = conditions.iter();
    all.find(|c| c.type_ == condition.as_str())
}

/// Whether a condition was said to hold; `None` when nothing was said.
pub fn was(conditions: &[ApiCondition], condition: Condition) -> Option<bool> {
    find(conditions, condition).map(|c| c.status == Status::True.as_str())
}

/// What several objects say together: the worst of them.
pub fn worst<'a>(all: impl IntoIterator<Item = &'a Statement>) -> Option<&'a Statement> {
    let rank = |s: &Statement| match s.status {
        Status::False => 0,
        Status::Unknown => 1,
        Status::True => 2,
    };
    all.into_iter().min_by_key(|statement| rank(statement))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(status: Status, reason: &'static str) -> Statement {
        Statement::new(Condition::Ready, status, reason, "a")
    }

    #[test]
    fn a_condition_keeps_its_time_while_its_status_stays() {
        let at = |seconds| Timestamp::from_second(seconds).unwrap();
        let first = conditions(&[], &[said(Status::True, "A")], at(1));
        assert_eq!(first[0].last_transition_time, Time(at(1)));
        let same = conditions(&first, &[said(Status::True, "B")], at(2));
        assert_eq!(same[0].last_transition_time, Time(at(1)));
        assert_eq!(same[0].reason, "B");
        let other = conditions(&same, &[said(Status::False, "B")], at(3));
        assert_eq!(other[0].last_transition_time, Time(at(3)));
    }

    #[test]
    fn a_long_message_is_cut_between_characters() {
        let long = Statement::new(Condition::Ready, Status::True, "A", "ä".repeat(5000));
        let cut = conditions(&[], &[long], Timestamp::UNIX_EPOCH);
        assert_eq!(cut[0].message.len(), LONGEST);
    }

    #[test]
    fn the_worst_counts() {
        let all = [
            said(Status::True, "A"),
            said(Status::False, "B"),
            said(Status::Unknown, "C"),
        ];
        assert_eq!(worst(&all).unwrap().reason, "B");
        assert_eq!(worst(&[]), None);
    }
}

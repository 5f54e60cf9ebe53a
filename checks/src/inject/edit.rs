//! Operations on the JSON as it was received.

use super::rule;
use crate::{Subject, finding};
use json_patch::Patch;
use ringfence_policy::model::{Direction, Rule};
use serde_json::{Map, Value, json};

/// A change of an object in the making. Where a field is absent or null, what would hold
/// it is added first.
pub(super) struct Edit<'a> {
    subject: &'a Subject<'a>,
    operations: Vec<Value>,
    set: Map<String, Value>,
    unset: Vec<&'static str>,
}

fn add(path: impl Into<String>, value: impl Into<Value>) -> Value {
    json!({"op": "add", "path": path.into(), "value": value.into()})
}

/// The operations that add rules to a section.
pub fn appended(raw: &Value, direction: Direction, rules: &[Rule]) -> Vec<Value> {
    let list: Vec<Value> = rules.iter().map(|r| rule::to_json(direction, r)).collect();
    if list.is_empty() {
        return Vec::new();
    }
    let spec = raw.get("spec").filter(|s| !s.is_null());
    let Some(spec) = spec else {
        let section = direction.to_string();
        return vec![add("/spec", json!({"podSelector": {}, section: list}))];
    };
    let path = format!("/spec/{direction}");
    if spec.get(direction.to_string()).is_some_and(Value::is_array) {
        let end = format!("{path}/-");
        return list.into_iter().map(|r| add(&*end, r)).collect();
    }
    vec![add(path, list)]
}

impl<'a> Edit<'a> {
    pub(super) fn new(subject: &'a Subject<'a>) -> Self {
        Self {
            subject,
            operations: Vec::new(),
            set: Map::new(),
            unset: Vec::new(),
        }
    }

    /// Takes out the rules at these places and adds others at the end.
    pub(super) fn rules(&mut self, direction: Direction, remove: &[usize], rules: &[Rule]) {
        let spec = &self.subject.raw["spec"];
        let count = spec[direction.to_string()].as_array().map_or(0, Vec::len);
        let empties = !remove.is_empty() && remove.len() == count && rules.is_empty();
        let types = spec["policyTypes"].as_array().map_or(0, Vec::len);
        if empties && types == 0 && direction == Direction::Egress {
            // Without types, a policy isolates egress only as long as it has egress rules:
            // taking the last one away would open everything.
            self.operations
                .push(add("/spec/policyTypes", json!(["Ingress", "Egress"])));
        }
        let descending = remove.iter().rev();
        self.operations.extend(
            descending.map(|at| json!({"op": "remove", "path": format!("/spec/{direction}/{at}")})),
        );
        self.operations
            .extend(appended(self.subject.raw, direction, rules));
    }

    /// Sets an annotation, or takes it away.
    pub(super) fn annotation(&mut self, key: &'static str, value: Option<String>) {
        let annotations = &self.subject.raw["metadata"]["annotations"];
        match (annotations.get(key), value) {
            (None, None) => {}
            (Some(_), None) => self.unset.push(key),
            (found, Some(value)) => {
                if found.and_then(Value::as_str) != Some(&*value) {
                    self.set.insert(key.to_owned(), value.into());
                }
            }
        }
    }

    /// Sets a field of the spec.
    pub(super) fn field(&mut self, name: &str, value: impl Into<Value>) {
        self.operations.push(add(format!("/spec/{name}"), value));
    }

    /// The patch, tried on the object.
    ///
    /// # Errors
    /// Why it must not be sent: the API server would answer the author with a 500.
    pub(super) fn finish(mut self) -> Result<Patch, String> {
        let pointer = |key: &str| format!("/metadata/annotations/{}", key.replace('/', "~1"));
        for key in &self.unset {
            self.operations
                .push(json!({"op": "remove", "path": pointer(key)}));
        }
        if !self.set.is_empty() {
            if self.subject.raw["metadata"]["annotations"].is_null() {
                self.operations.push(add("/metadata/annotations", self.set));
            } else {
                let all = self.set.into_iter();
                self.operations
                    .extend(all.map(|(k, v)| add(pointer(&k), v)));
            }
        }
        if self.operations.is_empty() {
            return Ok(Patch::default());
        }
        let patch = finding::patch(self.operations.into());
        let patch = patch.ok_or("the operations are no JSON Patch")?;
        let mut after = self.subject.raw.clone();
        json_patch::patch(&mut after, &patch).map_err(|e| e.to_string())?;
        let parsed = Subject::read(&after).map_err(|e| e.to_string())?;
        match parsed.errors.first() {
            Some(error) => Err(error.to_string()),
            None => Ok(patch),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::document;
    use test_case::test_case;

    const HEAD: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n";

    fn edited(rest: &str, change: impl FnOnce(&mut Edit)) -> Result<Value, String> {
        let raw = document(&format!("{HEAD}{rest}"));
        let subject = Subject::read(&raw).unwrap();
        let mut edit = Edit::new(&subject);
        change(&mut edit);
        let patch = edit.finish()?;
        let mut after = raw.clone();
        json_patch::patch(&mut after, &patch).unwrap();
        Ok(after)
    }

    #[test_case("metadata: {name: p, namespace: x}"; "no spec")]
    #[test_case("metadata: {name: p, namespace: x}\nspec: null"; "spec is null")]
    #[test_case("metadata: {name: p, namespace: x}\nspec: {podSelector: {}}"; "no section")]
    #[test_case("metadata: {name: p, namespace: x}\nspec: {podSelector: {}, ingress: null}"; "section is null")]
    #[test_case("metadata: {name: p, namespace: x}\nspec: {podSelector: {}, ingress: []}"; "section is empty")]
    #[test_case("metadata: {name: p, namespace: x, annotations: null}\nspec: {podSelector: {}}"; "annotations are null")]
    #[test_case("metadata: {name: p, namespace: x, annotations: {}}\nspec: {podSelector: {}}"; "annotations are empty")]
    fn what_is_absent_is_made(rest: &str) {
        let after = edited(rest, |edit| {
            edit.rules(Direction::Ingress, &[], &[Rule::default()]);
            edit.annotation("a.b/c", Some("d".to_owned()));
        });
        let after = after.unwrap();
        assert_eq!(after["spec"]["ingress"], json!([{}]));
        assert_eq!(after["metadata"]["annotations"], json!({"a.b/c": "d"}));
    }

    #[test]
    fn the_last_rule_goes_and_the_pods_stay_isolated() {
        let rest = "metadata: {name: p, namespace: x}\nspec: {podSelector: {}, egress: [{}]}";
        let after = edited(rest, |edit| edit.rules(Direction::Egress, &[0], &[])).unwrap();
        let subject = Subject::read(&after).unwrap();
        assert_eq!(subject.policy().unwrap().egress, Some(Vec::new()));
    }

    #[test]
    fn places_are_those_before_the_change() {
        let rest = "metadata: {name: p, namespace: x}\nspec: {podSelector: {}, egress: [\
                    {ports: [{port: 1}]}, {ports: [{port: 2}]}, {ports: [{port: 3}]}]}";
        let after = edited(rest, |edit| {
            edit.rules(Direction::Egress, &[0, 2], &[Rule::default()]);
        });
        let expected = json!([{"ports": [{"port": 2}]}, {}]);
        assert_eq!(after.unwrap()["spec"]["egress"], expected);
    }

    #[test]
    fn what_does_not_apply_is_not_sent() {
        let rest = "metadata: {name: p, namespace: x, annotations: text}";
        let set = |edit: &mut Edit| edit.annotation("a.b/c", Some("d".to_owned()));
        assert!(edited(rest, set).is_err());
        let rest = "metadata: {name: p, namespace: x}\nspec: {podSelector: {}}";
        let misspelt = |edit: &mut Edit| edit.field("ingres", json!([{}]));
        assert!(
            edited(rest, misspelt)
                .unwrap_err()
                .contains("no such field")
        );
    }
}
